//! What the kernel says of a process.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Memory of a process, in MiB.
pub struct Memory {
    pub now: f64,
    pub most: f64,
}

/// The processor time that a process has used, in all its threads.
pub fn processor_time(pid: i32) -> Result<Duration> {
    /// Of Linux, whatever the kernel's own ticks.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's times")?;
    // The name before it may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')').context("a process's name")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<u64>().ok()).context("a time");
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 1_000 / TICKS))
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
