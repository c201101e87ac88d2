//! Programs in Go that tests ask. Each is built once and lies in the user's cache under a hash of
//! its sources.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{exec, machine, paths, progress::Step};

/// What HTTP/2 must be like, as a program: it asks a server, and says what it does wrong.
pub const H2SPEC: Program = Program {
    name: "h2spec",
    sources: &["go.mod", "go.sum"],
    package: "github.com/summerwind/h2spec/cmd/h2spec",
    purpose: "building what tests HTTP/2 (once a machine)",
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
        let parent = paths::cache()?.join(self.name);
        let program = parent.join(self.hash()?);
        if program.exists() {
            return Ok(program);
        }
        machine::check_go()?;
        fs::create_dir_all(&parent)?;
        let lock = File::create(parent.join("lock"))?;
        let step = Step::begin(self.purpose);
        step.detail("another build is running");
        lock.lock()?;
        if !program.exists() {
            let unfinished = parent.join(format!("unfinished-{}", std::process::id()));
            let mut go = self.go(&["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o"]);
            exec::output(go.arg(&unfinished).arg(self.package))?;
            fs::rename(&unfinished, &program)?;
        }
        step.done();
        Ok(program)
    }

    /// Go, in the program's folder.
    pub fn go(&self, arguments: &[&str]) -> Command {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(self.source()).env("CGO_ENABLED", "0").env("GOFLAGS", "");
        go
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
