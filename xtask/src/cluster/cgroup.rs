//! The control group that all pods of a cluster run below, in either version of the
//! interface: version 1 has a tree for each controller, version 2 a single one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::clean::absent;
use crate::{exec::await_some, machine};

const MOUNT: &str = "/sys/fs/cgroup";
const BOUND: Duration = Duration::from_secs(10);

/// Makes the group with every controller that there is.
pub fn create(group: &str) -> Result<()> {
    let unusable =
        || format!("make a control group; is this a container without rights?{}", machine::OTHERWISE);
    if is_version_2() {
        let root = Path::new(MOUNT);
        for controller in fs::read_to_string(root.join("cgroup.controllers"))?.split_whitespace() {
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"))
                .with_context(unusable)?;
        }
    }
    for folder in folders(group)? {
        fs::create_dir_all(&folder).with_context(unusable)?;
        // A new group of version 1 has no processor and no memory until it is told.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (own, above) = (folder.join(file), folder.parent().context("a tree")?.join(file));
            if !is_version_2() && own.exists() {
                fs::write(own, fs::read_to_string(above)?).with_context(unusable)?;
            }
        }
    }
    Ok(())
}

/// The processes in the group and all groups below it.
pub fn processes(group: &str) -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for folder in folders(group)?.iter().flat_map(|folder| with_descendants(folder)) {
        // It may have been removed in between.
        if let Ok(processes) = fs::read_to_string(folder.join("cgroup.procs")) {
            found.extend(processes.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(found)
}

/// Takes the group away; its processes must be gone.
pub fn remove(group: &str) -> Result<()> {
    for folder in folders(group)?.iter().flat_map(|folder| with_descendants(folder)) {
        // The kernel lets go of a group a moment after its last process.
        await_some(&format!("{} to be free", folder.display()), BOUND, || {
            match absent(fs::remove_dir(&folder)) {
                Ok(()) => Ok(Some(())),
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
    }
    Ok(())
}

fn is_version_2() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// Where the group is, or would be: once a tree.
fn folders(group: &str) -> Result<BTreeSet<PathBuf>> {
    let name = group.trim_start_matches('/');
    if is_version_2() {
        return Ok([Path::new(MOUNT).join(name)].into());
    }
    let mut trees = BTreeSet::new();
    for tree in fs::read_dir(MOUNT).with_context(|| format!("read {MOUNT}"))? {
        // Several names may lead to one tree of several controllers.
        let tree = fs::canonicalize(tree?.path())?;
        if tree.join("cgroup.procs").exists() {
            trees.insert(tree.join(name));
        }
    }
    Ok(trees)
}

/// The deepest first.
fn with_descendants(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> =
        below.filter(|path| path.is_dir()).flat_map(|path| with_descendants(&path)).collect();
    if folder.is_dir() {
        all.push(folder.to_path_buf());
    }
    all
}
