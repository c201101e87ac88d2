//! A cluster's processes: started so that a killed `xtask` never leaves one that is
//! not known, found again by pid and start time.
//!
//! Invariant: a component's program runs only after its identity was written down.

use std::{
    fs::{self, File},
    io::{Read, Write, stdin},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::{Pid, setsid},
};
use serde::{Deserialize, Serialize};

use super::{component::Component, layout::Layout};
use crate::machine;

/// Becomes a component's program once it is told to; not for people.
#[derive(clap::Args)]
pub struct Launch {
    /// The network namespace to run in.
    #[arg(long)]
    netns: Option<PathBuf>,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A process that cannot be taken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks from the machine's start to the process's.
    started: u64,
    boot: String,
}

impl Identity {
    /// That of a running process.
    fn of(pid: i32) -> Option<Self> {
        let started = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, started, boot })
    }

    /// What was written down for a component.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Ends it at once. One that is gone already is what was asked for.
    pub fn kill(&self) {
        if self.is_alive() {
            kill_pid(self.pid);
        }
    }
}

/// The 22nd field; none for a process that is dead but not collected. The second
/// field is a name in brackets that may hold anything. A dead process of whose threads (the 20th
/// field) some are still ending keeps its ports, and counts as alive.
fn start_time(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    if matches!(*fields.first()?, "Z" | "X") && threads <= 1 {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Sends SIGKILL; a process that is gone already needs none.
pub fn kill_pid(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
}

/// Whether a component of the cluster is running.
pub fn is_running(layout: &Layout, component: &str) -> bool {
    Identity::read(&layout.pid(component)).is_some_and(|identity| identity.is_alive())
}

/// Starts a component's program in a session of its own.
pub fn start(layout: &Layout, component: &Component) -> Result<()> {
    let log = File::options().create(true).append(true).open(layout.log(component.name))?;
    // By this path the program stays ours even while cargo replaces the file.
    let mut command = Command::new("/proc/self/exe");
    command.args(["cluster", "launch"]);
    if component.inside {
        command.arg("--netns").arg(layout.netns_path());
    }
    let mut child = command
        .arg("--")
        .arg(&component.program)
        .args(&component.arguments)
        .current_dir(&layout.dir)
        .env("PATH", machine::search_path(&layout.bin()))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", component.name))?;
    let pid = i32::try_from(child.id()).context("a pid")?;
    let Some(identity) = Identity::of(pid) else {
        bail!("{} ended at once", component.name);
    };
    fs::write(layout.pid(component.name), serde_json::to_string(&identity)?)?;
    child.stdin.take().expect("it was piped").write_all(b"!").context("let it go")
}

impl Launch {
    /// Waits for the word, then turns into the program. Without the word (its parent
    /// was killed before it wrote the identity down) it just ends.
    pub fn run(&self) -> Result<()> {
        let mut word = [0];
        if stdin().read_exact(&mut word).is_err() {
            return Ok(());
        }
        setsid().context("start a session")?;
        if let Some(path) = &self.netns {
            enter(path)?;
        }
        let failed = Command::new(&self.program).args(&self.arguments).stdin(Stdio::null()).exec();
        Err(failed).with_context(|| format!("run {}", self.program.display()))
    }
}

/// Moves the calling thread into a network namespace.
pub fn enter(netns: &Path) -> Result<()> {
    let namespace = File::open(netns).with_context(|| format!("open {}", netns.display()))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", netns.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_start_time_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
        let ending = stat.replace(" S ", " Z ").replace("20 0 1 0", "20 0 3 0");
        assert_eq!(start_time(&ending), Some(4242), "its threads are still ending");
    }

    #[test]
    fn knows_itself_and_no_other() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
    }
}
