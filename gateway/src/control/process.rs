//! What plugins say of their processes: numbers that change all the time. They stand among the
//! details of Health under names of their own, and are taken out before anything is written into a
//! status, so that a settled cluster has no writes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use forward_plan::routes::PluginId;
use tokio::time::Instant;

/// What the names of these details begin with.
pub const PREFIX: &str = "process.";
/// Over how long the use of CPU is told.
const WINDOW: Duration = Duration::from_secs(60);

/// What one process says. Times are in seconds, since 1970 where they are moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    pub memory_bytes: Option<f64>,
    pub cpu_seconds: Option<f64>,
    pub threads: Option<f64>,
    pub started: Option<f64>,
    pub requests: Option<f64>,
    pub last_request: Option<f64>,
}

/// What a pod has said last, and how much CPU it used lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The pod's name.
    pub pod: String,
    pub process: Process,
    /// In cores.
    pub cpu: Option<f64>,
}

/// What the pods have said that this replica asks.
#[derive(Clone, Debug, Default)]
pub struct Processes(Arc<Mutex<BTreeMap<PluginId, BTreeMap<String, Memory>>>>);

#[derive(Debug)]
struct Memory {
    told: Told,
    /// When it had used how many seconds of CPU.
    used: VecDeque<(Instant, f64)>,
}

impl Process {
    /// Take what a plugin says of its process out of the details; `None` where it says nothing. What is
    /// no number is taken for not said.
    pub fn take(details: &mut BTreeMap<String, String>) -> Option<Self> {
        let mut said = BTreeMap::new();
        details.retain(|name, value| match name.strip_prefix(PREFIX) {
            Some(name) => {
                said.insert(name.to_owned(), value.parse().ok().filter(|number| is_told(*number)));
                false
            }
            None => true,
        });
        let number = |name: &str| said.get(name).copied().flatten();
        (!said.is_empty()).then(|| Self {
            memory_bytes: number("memory_bytes"),
            cpu_seconds: number("cpu_seconds"),
            threads: number("threads"),
            started: number("started"),
            requests: number("requests"),
            last_request: number("last_request"),
        })
    }
}

fn is_told(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

impl Processes {
    /// A pod of a plugin, by its UID and name, has said this.
    pub fn say(&self, plugin: &PluginId, uid: &str, pod: &str, process: Process, now: Instant) {
        let mut all = self.lock();
        let pods = all.entry(plugin.clone()).or_default();
        let memory = pods.entry(uid.to_owned()).or_insert_with(|| Memory {
            told: Told { pod: pod.to_owned(), process, cpu: None },
            used: VecDeque::new(),
        });
        memory.say(process, now);
    }

    /// Forget a plugin's pods but these.
    pub fn keep(&self, plugin: &PluginId, is_there: impl Fn(&str) -> bool) {
        let mut all = self.lock();
        if let Some(pods) = all.get_mut(plugin) {
            pods.retain(|uid, _| is_there(uid));
            if pods.is_empty() {
                all.remove(plugin);
            }
        }
    }

    /// What the pods of a plugin have said.
    pub fn of(&self, plugin: &PluginId) -> Vec<Told> {
        let pods = self.lock().get(plugin).map(|pods| pods.values().map(|it| it.told.clone()).collect());
        pods.unwrap_or_default()
    }

    /// What all pods have said.
    pub fn all(&self) -> Vec<(PluginId, Told)> {
        let all = self.lock();
        let of_plugin = |(id, pods): (&PluginId, &BTreeMap<String, Memory>)| {
            pods.values().map(|memory| (id.clone(), memory.told.clone())).collect::<Vec<_>>()
        };
        all.iter().flat_map(of_plugin).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginId, BTreeMap<String, Memory>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn say(&mut self, process: Process, now: Instant) {
        let Self { told, used } = self;
        if process.started != told.process.started {
            // Another process counts anew.
            used.clear();
        }
        told.process = process;
        let Some(seconds) = process.cpu_seconds else { return };
        used.push_back((now, seconds));
        // The oldest one that is kept is the last from before the window.
        while used.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            used.pop_front();
        }
        told.cpu = used
            .front()
            .filter(|(at, _)| now > *at)
            .map(|(at, before)| (seconds - before).max(0.0) / now.duration_since(*at).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn takes_numbers_out_of_the_details_and_nothing_else() {
        let mut said = details(&[
            ("process.memory_bytes", "1048576"),
            ("process.cpu_seconds", "NaN"),
            ("process.threads", "-1"),
            ("process.colour", "green"),
            ("queue", "12"),
        ]);
        let process = Process::take(&mut said).unwrap();
        assert_eq!(process, Process { memory_bytes: Some(1_048_576.0), ..Process::default() });
        assert_eq!(said, details(&[("queue", "12")]));
        assert_eq!(Process::take(&mut said), None);
    }

    #[test]
    fn tells_how_much_cpu_was_used_lately() {
        let (processes, id) = (Processes::default(), PluginId::new("n", "p"));
        let begin = Instant::now();
        let say = |seconds: u64, cpu: f64, started: f64| {
            let process = Process { cpu_seconds: Some(cpu), started: Some(started), ..Process::default() };
            processes.say(&id, "uid", "p-1", process, begin + Duration::from_secs(seconds));
            processes.of(&id)[0].cpu
        };
        assert_eq!(say(0, 100.0, 1.0), None);
        assert_eq!(say(10, 105.0, 1.0), Some(0.5));
        (2..=6).for_each(|n| assert!(say(10 * n, 105.0, 1.0).is_some()));
        assert_eq!(say(70, 111.0, 1.0), Some(0.1), "of the last minute");
        assert_eq!(say(80, 1.0, 2.0), None, "another process");
        processes.keep(&id, |uid| uid != "uid");
        assert!(processes.all().is_empty() && processes.lock().is_empty());
    }
}
