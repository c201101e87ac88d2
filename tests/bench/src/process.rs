//! What the kernel says of a process.

use std::{fs, ops::AddAssign, time::Duration};

use anyhow::{Context, Result};

/// Memory of a process, in MiB.
pub struct Memory {
    pub now: f64,
    pub most: f64,
}

/// Processor time that was used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// In the program itself.
    pub user: Duration,
    /// In the kernel, for the program.
    pub kernel: Duration,
}

/// The processor time that a process has used, in all its threads.
pub fn processor_time(pid: i32) -> Result<Duration> {
    times(pid).map(Times::sum)
}

/// The same, by where it was used.
pub fn times(pid: i32) -> Result<Times> {
    /// Of Linux, whatever the kernel's own ticks.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's times")?;
    // The name before it may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')').context("a process's name")?.1.split_whitespace().collect();
    let time = |index: usize| {
        let ticks = fields.get(index).and_then(|it| it.parse::<u64>().ok()).context("a time")?;
        Ok::<_, anyhow::Error>(Duration::from_millis(ticks * 1_000 / TICKS))
    };
    Ok(Times { user: time(11)?, kernel: time(12)? })
}

impl Times {
    pub fn sum(self) -> Duration {
        self.user + self.kernel
    }

    pub fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, kernel: self.kernel - before.kernel }
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.kernel += other.kernel;
    }
}

/// How much of a process lies in memory.
pub fn memory(pid: i32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's memory")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("an amount of memory")?;
        Ok::<_, anyhow::Error>(kib / 1_024.0)
    };
    Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
}
