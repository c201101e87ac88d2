//! Takes away whatever is left of a cluster, however it ended: processes, mounts,
//! control groups, network, files. Run before every start and by every stop.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

use super::{
    cgroup,
    layout::Layout,
    network,
    process::{Identity, kill_pid},
};
use crate::exec::await_some;

const BOUND: Duration = Duration::from_secs(30);

/// Leaves nothing of the cluster but, if asked to, its log files.
pub fn clean(layout: &Layout, keep_logs: bool) -> Result<()> {
    kill_processes(layout)?;
    unmount(&layout.dir)?;
    unmount(&layout.run)?;
    cgroup::remove(&layout.cgroup())?;
    network::remove(layout)?;
    remove_links(layout)?;
    remove_network_results(layout)?;
    remove_folder(&layout.run)?;
    if keep_logs {
        for entry in fs::read_dir(&layout.dir)? {
            let path = entry?.path();
            if !path.ends_with("logs") {
                remove_any(&path)?;
            }
        }
        return Ok(());
    }
    remove_folder(&layout.dir)
}

/// Those written down, those in its network (shims among them) and those in its control
/// groups (its pods). Again and again, as some of them start others while they die.
fn kill_processes(layout: &Layout) -> Result<()> {
    await_some("the cluster's processes to end", BOUND, || {
        let found = processes(layout)?;
        found.iter().copied().for_each(kill_pid);
        Ok(found.is_empty().then_some(()))
    })
}

fn processes(layout: &Layout) -> Result<BTreeSet<i32>> {
    let mut found = cgroup::processes(&layout.cgroup())?;
    if let Ok(written) = fs::read_dir(layout.pids()) {
        for entry in written {
            found.extend(
                Identity::read(&entry?.path()).filter(Identity::is_alive).map(|identity| identity.pid),
            );
        }
    }
    if let Ok(network) = fs::metadata(layout.netns_path()) {
        let of = |pid: i32| fs::metadata(format!("/proc/{pid}/ns/net"));
        let pids =
            fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // A process that is gone, or a zombie, has no network to compare.
        found.extend(pids.filter(|pid| {
            of(*pid).is_ok_and(|its| (its.dev(), its.ino()) == (network.dev(), network.ino()))
        }));
    }
    found.remove(&i32::try_from(std::process::id())?);
    Ok(found)
}

fn unmount(folder: &Path) -> Result<()> {
    let below = |point: &PathBuf| point.starts_with(folder);
    for point in mount_points()?.iter().rev().filter(|point| below(point)) {
        match umount2(point, MntFlags::MNT_DETACH) {
            // Gone already, with the one it lay on.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmount {}", point.display())),
        }
    }
    Ok(())
}

/// In the order in which they were mounted.
fn mount_points() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| unescape(point).into()).collect())
}

fn unescape(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Kubelet links each container's log from a folder of its own choice.
fn remove_links(layout: &Layout) -> Result<()> {
    let Ok(links) = fs::read_dir("/var/log/containers") else {
        return Ok(());
    };
    for link in links {
        let link = link?.path();
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&layout.dir)) {
            absent(fs::remove_file(&link)).with_context(|| format!("remove {}", link.display()))?;
        }
    }
    Ok(())
}

/// The network plugins' answers are kept in a folder that the runtime does not let choose.
fn remove_network_results(layout: &Layout) -> Result<()> {
    let Ok(results) = fs::read_dir("/var/lib/cni/results") else {
        return Ok(());
    };
    let own = format!("forward-{}-", layout.name);
    for result in results {
        let result = result?;
        if result.file_name().to_string_lossy().starts_with(&own) {
            absent(fs::remove_file(result.path()))
                .with_context(|| format!("remove {}", result.path().display()))?;
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    absent(fs::remove_dir_all(folder)).with_context(|| format!("remove {}", folder.display()))
}

fn remove_any(path: &Path) -> Result<()> {
    if path.is_dir() && !path.is_symlink() {
        return remove_folder(path);
    }
    absent(fs::remove_file(path)).with_context(|| format!("remove {}", path.display()))
}

/// What is not there need not be removed.
pub fn absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
