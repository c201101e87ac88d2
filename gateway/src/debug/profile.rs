//! How each plugin has fared in the last minutes: what the workers count since the start is read
//! from time to time, and what came since is kept for a while. Requests pay nothing for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use forward_plan::routes::PluginId;
use tokio::time::{Instant, interval};

use crate::{
    control::index::Handle,
    data::{
        latency::{self, BUCKETS},
        snapshot::Plugin,
        stats::Course,
    },
};

/// How often the counters are read.
const EVERY: Duration = Duration::from_secs(10);
/// The windows that are told, the last of them being what is kept.
pub const WINDOWS: [(&str, Duration); 2] =
    [("1m", Duration::from_secs(60)), ("5m", Duration::from_secs(300))];

/// What is remembered of all plugins.
pub struct Profiler {
    index: Handle,
    plugins: Mutex<BTreeMap<PluginId, Memory>>,
}

/// What is remembered of one plugin.
struct Memory {
    plugin: Arc<Plugin>,
    /// When it was seen first.
    since: Instant,
    read: Instant,
    course: Course,
    /// What came between two readings, where anything did: when the earlier of them was, and what.
    spans: VecDeque<(Instant, Span)>,
}

/// What came in a time.
#[derive(Clone, Debug, Default, PartialEq)]
struct Span {
    /// Buckets with requests, and how many: most have a few.
    latencies: Box<[(u8, u32)]>,
    nanos: u64,
    failed: u64,
}

/// How a plugin has fared in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub name: &'static str,
    /// How long it is, in seconds: up to ten more than its name says, and less for a plugin that is
    /// new.
    pub seconds: f64,
    pub requests: u64,
    /// Answered with 5xx.
    pub failed: u64,
    /// In seconds; `None` without requests.
    pub mean: Option<f64>,
    /// The 50th, 95th and 99th percentiles, in seconds.
    pub percentiles: Option<[f64; 3]>,
}

impl Profiler {
    pub fn new(index: Handle) -> Arc<Self> {
        Arc::new(Self { index, plugins: Mutex::default() })
    }

    /// Read the counters from time to time until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut interval = interval(EVERY);
        loop {
            interval.tick().await;
            self.read(Instant::now());
        }
    }

    /// Read the counters.
    pub fn read(&self, now: Instant) {
        let plugins = self.index.lock().serving();
        let mut memories = self.lock();
        // The index has them in the same order; one that was made anew is another one.
        memories.retain(|id, memory| {
            let at = plugins.binary_search_by(|plugin| plugin.id.cmp(id));
            at.is_ok_and(|at| Arc::ptr_eq(&plugins[at], &memory.plugin))
        });
        for plugin in plugins {
            let memory = memories.entry(plugin.id.clone()).or_insert_with(|| Memory::new(plugin, now));
            memory.read(now);
        }
    }

    /// How a plugin has fared in each of [`WINDOWS`]; nothing where it is not known.
    pub fn windows(&self, plugin: &Arc<Plugin>, now: Instant) -> Vec<Window> {
        let memories = self.lock();
        let known = memories.get(&plugin.id).filter(|memory| Arc::ptr_eq(&memory.plugin, plugin));
        let fresh = || Memory::new(plugin.clone(), now).windows(now);
        known.map_or_else(fresh, |memory| memory.windows(now))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginId, Memory>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn new(plugin: Arc<Plugin>, now: Instant) -> Self {
        // What it has counted until now came at a time that nobody knows.
        let course = Course::of(plugin.stats.iter());
        Self { plugin, since: now, read: now, course, spans: VecDeque::new() }
    }

    fn read(&mut self, now: Instant) {
        let course = Course::of(self.plugin.stats.iter());
        if course.nanos != self.course.nanos {
            self.spans.push_back((self.read, Span::between(&self.course, &course)));
        }
        let [.., (_, longest)] = WINDOWS;
        while self.spans.front().is_some_and(|(begun, _)| now.duration_since(*begun) > longest + EVERY) {
            self.spans.pop_front();
        }
        (self.read, self.course) = (now, course);
    }

    fn windows(&self, now: Instant) -> Vec<Window> {
        let rest = Span::between(&self.course, &Course::of(self.plugin.stats.iter()));
        let window = |(name, length): (&'static str, Duration)| {
            let begin = now.checked_sub(length).unwrap_or(self.since).max(self.since);
            // A span that the window begins in counts whole, and so does its time.
            let within = |begun: Instant| begun + EVERY > begin;
            let spans = self.spans.iter().filter(|(begun, _)| within(*begun));
            let first = spans.clone().map(|(begun, _)| *begun).min().unwrap_or(begin).min(begin);
            let seconds = now.duration_since(first).as_secs_f64();
            Window::of(name, seconds, spans.map(|(_, span)| span).chain([&rest]))
        };
        WINDOWS.map(window).into()
    }
}

impl Span {
    fn between(earlier: &Course, later: &Course) -> Self {
        let pairs = earlier.latencies.iter().zip(&later.latencies);
        let counts =
            pairs.zip(0_u8..).map(|((earlier, later), bucket)| (bucket, later.wrapping_sub(*earlier)));
        Self {
            latencies: counts.filter(|(_, count)| *count > 0).collect(),
            nanos: later.nanos.wrapping_sub(earlier.nanos),
            failed: later.failed.saturating_sub(earlier.failed),
        }
    }
}

impl Window {
    fn of<'a>(name: &'static str, seconds: f64, spans: impl Iterator<Item = &'a Span>) -> Self {
        let mut counts = [0; BUCKETS];
        let (mut nanos, mut failed) = (0_u64, 0);
        for span in spans {
            for (bucket, count) in &span.latencies {
                counts[usize::from(*bucket)] += u64::from(*count);
            }
            nanos = nanos.saturating_add(span.nanos);
            failed += span.failed;
        }
        let requests = counts.iter().sum::<u64>();
        let mean = (requests > 0).then(|| Duration::from_nanos(nanos / requests).as_secs_f64());
        let percentiles = latency::percentile(&counts, 50).map(|half| {
            let high = |percent| latency::percentile(&counts, percent).unwrap_or(half);
            [half, high(95), high(99)]
        });
        Self { name, seconds, requests, failed, mean, percentiles }
    }

    /// Requests in a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn ended(plugin: &Plugin, status: StatusCode, millis: u64) {
        plugin.stats[0].enter();
        plugin.stats[0].ended(status, Duration::from_millis(millis), 1);
    }

    #[test]
    fn tells_of_the_last_minute_and_the_last_five_apart() {
        let plugin = Plugin::new(PluginId::new("n", "p"), 1);
        ended(&plugin, StatusCode::OK, 9_000);
        let begin = Instant::now();
        let mut memory = Memory::new(plugin.clone(), begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        for _ in 0..100 {
            ended(&plugin, StatusCode::BAD_GATEWAY, 1_000);
        }
        (1..=10).for_each(|n| memory.read(at(10 * n)));
        for _ in 0..10 {
            ended(&plugin, StatusCode::OK, 10);
        }
        let [minute, five] = &memory.windows(at(101))[..] else { panic!() };
        assert_eq!((minute.requests, minute.failed, five.requests, five.failed), (10, 0, 110, 100));
        assert!((minute.seconds - 60.0).abs() < 1e-9 && (five.seconds - 101.0).abs() < 1e-9, "{minute:?}");
        let [half, _, last] = five.percentiles.unwrap();
        assert!((half - 1.0).abs() < 0.125 && (last - 1.0).abs() < 0.125, "{five:?}");
        assert!((minute.mean.unwrap() - 0.01).abs() < 1e-9);
        (11..=50).for_each(|n| memory.read(at(10 * n)));
        assert!(memory.spans.is_empty(), "what is too old is forgotten");
        assert_eq!(memory.windows(at(501)).iter().map(|it| it.requests).sum::<u64>(), 0);
    }

    #[test]
    fn a_plugin_that_rests_takes_no_room() {
        let plugin = Plugin::new(PluginId::new("n", "p"), 1);
        let begin = Instant::now();
        let mut memory = Memory::new(plugin, begin);
        (1..100).for_each(|n| memory.read(begin + EVERY * n));
        assert!(memory.spans.is_empty());
        assert_eq!(memory.windows(begin)[0].percentiles, None);
    }
}
