//! What is told of the plugin's process: among the details of Health, under names that the gateway
//! takes out again and shows in its metrics.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// How many of the kernel's ticks a second has where it counts time of the CPU for programs
/// (`USER_HZ`): on every machine that Rust's Linux targets with a standard library run on.
const TICKS: f64 = 100.0;

/// When the process was started, and what it was asked.
#[derive(Debug)]
pub struct Process {
    started: SystemTime,
    requests: AtomicU64,
    /// In seconds since 1970; 0 before the first.
    last: AtomicU64,
}

impl Process {
    /// A process that starts now.
    pub fn start() -> Self {
        Self { started: SystemTime::now(), requests: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// A request has come for the plugin's routes.
    pub fn asked(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.last.store(seconds(SystemTime::now()), Relaxed);
    }

    /// Adds what is known. What the kernel does not tell, as outside Linux, is left out.
    pub fn tell(&self, details: &mut BTreeMap<String, String>) {
        let mut tell = |name: &str, value: Option<String>| {
            details.extend(value.map(|value| (format!("process.{name}"), value)));
        };
        // These are no files on a disk: reading them does not wait.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        tell("memory_bytes", number(&status, "VmRSS:").map(|kibibytes| (kibibytes * 1024).to_string()));
        tell("threads", number(&status, "Threads:").map(|count| count.to_string()));
        tell("cpu_seconds", cpu(&stat).map(|seconds| seconds.to_string()));
        tell("started", Some(seconds(self.started).to_string()));
        tell("requests", Some(self.requests.load(Relaxed).to_string()));
        let last = Some(self.last.load(Relaxed)).filter(|last| *last > 0);
        tell("last_request", last.map(|last| last.to_string()));
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The number of a line of `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The seconds of the CPU in `/proc/self/stat`: those of the program and of the kernel for it.
fn cpu(stat: &str) -> Option<f64> {
    // The program's name may have blanks and brackets in it; the rest is numbers.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11);
    let (user, system) = (ticks.next()?.parse::<f64>().ok()?, ticks.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 3 0 100 1 2";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("nonsense"), None);
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!((number(status, "VmRSS:"), number(status, "Threads:")), (Some(2048), Some(3)));
    }

    #[test]
    fn tells_of_this_process() {
        let process = Process::start();
        let mut details = BTreeMap::from([("queue".to_owned(), "12".to_owned())]);
        process.tell(&mut details);
        let number = |name: &str| details.get(name).map(|it| it.parse::<f64>().unwrap());
        assert!(number("process.memory_bytes").unwrap() > 1e5, "{details:?}");
        assert!(number("process.threads").unwrap() >= 1.0 && number("process.cpu_seconds").is_some());
        assert!(number("process.started").unwrap() > 1.7e9, "{details:?}");
        assert_eq!((number("process.requests"), number("process.last_request")), (Some(0.0), None));
        process.asked();
        process.tell(&mut details);
        assert_eq!(details["process.requests"], "1");
        assert!(details.contains_key("process.last_request") && details["queue"] == "12");
    }
}
