//! What is built of Go modules: once, and kept in the user's cache under a hash of everything that
//! decides what it is.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{exec, machine, paths, progress::Step};

/// What the names of unfinished builds begin with.
const UNFINISHED: &str = "unfinished-";

/// What HTTP/2 must be like, as a program: it asks a server, and says what it does wrong.
pub const H2SPEC: Program = Program {
    name: "h2spec",
    sources: &["go.mod", "go.sum"],
    package: "github.com/summerwind/h2spec/cmd/h2spec",
    purpose: "building what tests HTTP/2 (once a machine)",
};

/// A real Alertmanager, for the gateway to tell. Of this release the module holds all that it is built
/// from; the newest ones want their pages made first.
pub const ALERTMANAGER: Program = Program {
    name: "alertmanager",
    sources: &["go.mod", "go.sum"],
    package: "github.com/prometheus/alertmanager/cmd/alertmanager",
    purpose: "building Alertmanager for the tests of alerts (once a machine)",
};

/// A program in a folder of `tests`.
pub struct Program {
    /// Of the folder, and in the cache.
    pub name: &'static str,
    /// What decides what the program is.
    pub sources: &'static [&'static str],
    /// What to build there.
    pub package: &'static str,
    /// For who waits for it.
    pub purpose: &'static str,
}

impl Program {
    /// The program, built if it is not there.
    pub fn ensure(&self) -> Result<PathBuf> {
        once(&paths::cache()?.join(self.name).join(self.hash()?), self.purpose, |program, step| {
            build(&self.source(), &[], program, &[self.package], step)
        })
    }

    /// Go, in the program's folder.
    #[cfg(test)]
    pub fn go(&self, arguments: &[&str]) -> Command {
        go(&self.source(), arguments)
    }

    fn hash(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in self.sources {
            let path = self.source().join(file);
            hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn source(&self) -> PathBuf {
        paths::repository().join("tests").join(self.name)
    }
}

/// A file or folder of the cache, made by `make` if it is not there: by one process at a time, and
/// whole or not at all.
pub fn once(made: &Path, purpose: &str, make: impl FnOnce(&Path, &Step) -> Result<()>) -> Result<PathBuf> {
    if made.exists() {
        return Ok(made.to_owned());
    }
    machine::check_go()?;
    let parent = made.parent().context("the cache")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("lock"))?;
    let step = Step::begin(purpose);
    step.detail("another build is running");
    lock.lock()?;
    if !made.exists() {
        remove_unfinished(parent)?;
        // A killed run's compiler may go on for a while: it must not write into this one's.
        let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
        make(&unfinished, &step)?;
        fs::rename(&unfinished, made)?;
    }
    step.done();
    Ok(made.to_owned())
}

fn remove_unfinished(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let is_folder = entry.file_type()?.is_dir();
            let remove = if is_folder { fs::remove_dir_all } else { fs::remove_file };
            remove(entry.path()).context("remove what a killed build left")?;
        }
    }
    Ok(())
}

/// Builds packages of the module in `folder` and says how far it is.
pub fn build(folder: &Path, flags: &[&str], target: &Path, packages: &[&str], step: &Step) -> Result<()> {
    let mut go = go(folder, &["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]);
    go.args(flags).arg("-o").arg(target).args(packages);
    let mut built = 0;
    exec::watch(&mut go, |line| {
        if let Some(download) = line.strip_prefix("go: downloading ") {
            step.detail(format!("fetching {download}"));
        } else {
            built += 1;
            step.detail(format!("{built} packages, {line}"));
        }
    })
}

fn go(folder: &Path, arguments: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(folder).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    go
}
