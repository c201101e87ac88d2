//! What is counted, by worker: each counter has one writer, so that counting never contends.
//! The numbers are added up when somebody asks for them.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

use super::{clock::Tick, latency};

/// Upper bounds of the latency buckets, in seconds: from what the gateway itself takes to what
/// a client gives up on.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The classes of methods, by [`method_class`].
pub const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// The classes of statuses, by the first digit.
pub const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What went wrong between the gateway and a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// There was no ready endpoint.
    NoEndpoint,
    /// The plugin says that it is unhealthy.
    Unhealthy,
    /// No connection came about.
    Connect,
    /// The connection broke.
    Broken,
    /// The answer was not HTTP as we know it.
    Malformed,
    /// The answer did not begin in time.
    Timeout,
    /// The client went away first.
    ClientGone,
    /// Too many requests were under way.
    Overloaded,
    /// All pods were ejected.
    CircuitOpen,
}

impl UpstreamError {
    pub const ALL: [Self; 9] = [
        Self::NoEndpoint,
        Self::Unhealthy,
        Self::Connect,
        Self::Broken,
        Self::Malformed,
        Self::Timeout,
        Self::ClientGone,
        Self::Overloaded,
        Self::CircuitOpen,
    ];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Unhealthy => "unhealthy",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
            Self::Overloaded => "overloaded",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

/// What the gateway did about a plugin that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// It ejected an endpoint.
    Eject,
    /// It sent a request once more that had not reached an endpoint.
    Resend,
    /// The same over another connection, because the one that was used was closed at the other end.
    Reconnect,
    /// It repeated a request because an entry says so.
    Repeat,
    /// It sent a request to another endpoint as well, because the first took long.
    Hedge,
    /// It would have done one of the two, but the budget was spent.
    Forgo,
    /// It answered itself.
    Answer,
    /// It asked another plugin.
    Substitute,
}

impl Measure {
    pub const ALL: [Self; 8] = [
        Self::Eject,
        Self::Resend,
        Self::Reconnect,
        Self::Repeat,
        Self::Hedge,
        Self::Forgo,
        Self::Answer,
        Self::Substitute,
    ];
}

/// One worker's counts of the requests for one route. They are there once there was one: most routes of
/// many are asked for by few.
#[derive(Debug, Default)]
pub struct RouteStats(OnceLock<Box<RouteCounts>>);

#[derive(Debug, Default)]
struct RouteCounts {
    requests: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    /// The last request of each bucket that a trace is kept of; there only once there was one.
    exemplars: Mutex<Option<Box<Exemplars>>>,
}

/// By bucket.
pub type Exemplars = [Option<Exemplar>; BOUNDS.len() + 1];

/// A request that a trace is kept of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub trace: u128,
    pub seconds: f64,
    pub at: SystemTime,
}

impl RouteStats {
    /// Count a request.
    pub fn record(&self, method: &Method, status: StatusCode, took: Duration) {
        let counts = self.0.get_or_init(Box::default);
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1;
        bump(&counts.requests[method_class(method)][class], 1);
        let seconds = took.as_secs_f64();
        bump(&counts.buckets[BOUNDS.partition_point(|bound| *bound < seconds)], 1);
        bump(&counts.nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A trace is kept of a request that took so long. Who reads at this moment is not waited for.
    pub fn exemplify(&self, took: Duration, trace: u128) {
        let seconds = took.as_secs_f64();
        if let Ok(mut all) = self.0.get_or_init(Box::default).exemplars.try_lock() {
            let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
            all.get_or_insert_default()[bucket] = Some(Exemplar { trace, seconds, at: SystemTime::now() });
        }
    }

    /// The newest of all workers.
    pub fn exemplars<'a>(workers: impl IntoIterator<Item = &'a Self>) -> Exemplars {
        let mut newest = Exemplars::default();
        for counts in workers.into_iter().filter_map(|worker| worker.0.get()) {
            let all = counts.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
            for (newest, other) in newest.iter_mut().zip(all.iter().flat_map(|all| all.iter())) {
                if other.is_some_and(|other| newest.is_none_or(|newest| newest.at < other.at)) {
                    *newest = *other;
                }
            }
        }
        newest
    }
}

/// One worker's counts for one plugin.
#[derive(Debug)]
pub struct PluginStats {
    in_flight: AtomicI64,
    /// Requests by [`latency::bucket`]. They begin anew after four billion; what reads them looks at
    /// differences.
    latencies: [AtomicU32; latency::BUCKETS],
    nanos: AtomicU64,
    /// Answers of the class 5xx, whoever gave them.
    failed: AtomicU64,
    /// When a request ended last; 0 before the first.
    last: AtomicU64,
    errors: [AtomicU64; UpstreamError::ALL.len()],
    measures: [AtomicU64; Measure::ALL.len()],
}

impl PluginStats {
    /// One more request is under way; [`PluginStats::leave`] ends it.
    pub fn enter(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
    }

    pub fn leave(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) - 1, Relaxed);
    }

    /// A request has ended.
    pub fn ended(&self, status: StatusCode, took: Duration, now: Tick) {
        self.leave();
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let count = &self.latencies[latency::bucket(nanos)];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        bump(&self.nanos, nanos);
        bump(&self.failed, status.is_server_error().into());
        self.last.store(now, Relaxed);
    }

    pub fn error(&self, kind: UpstreamError) {
        bump(&self.errors[kind as usize], 1);
    }

    pub fn measure(&self, measure: Measure) {
        bump(&self.measures[measure as usize], 1);
    }
}

/// The counts of all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTotals {
    /// By [`METHODS`] and [`STATUSES`].
    pub requests: [[u64; STATUSES.len()]; METHODS.len()],
    /// By [`BOUNDS`], and one for what is above.
    pub buckets: [u64; BOUNDS.len() + 1],
    pub seconds: f64,
}

impl RouteTotals {
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a RouteStats>) -> Self {
        let mut totals = Self::default();
        for worker in workers.into_iter().filter_map(|worker| worker.0.get()) {
            for (sums, counts) in totals.requests.iter_mut().zip(&worker.requests) {
                add(sums, counts);
            }
            add(&mut totals.buckets, &worker.buckets);
            totals.seconds += Duration::from_nanos(worker.nanos.load(Relaxed)).as_secs_f64();
        }
        totals
    }
}

impl Default for PluginStats {
    fn default() -> Self {
        Self {
            in_flight: AtomicI64::default(),
            latencies: std::array::from_fn(|_| AtomicU32::default()),
            nanos: AtomicU64::default(),
            failed: AtomicU64::default(),
            last: AtomicU64::default(),
            errors: Default::default(),
            measures: Default::default(),
        }
    }
}

/// How requests of a plugin have gone since the start, of all workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// By [`latency::bucket`]; see [`PluginStats`] for what becomes of large numbers.
    pub latencies: [u32; latency::BUCKETS],
    pub nanos: u64,
    pub failed: u64,
    pub last: Tick,
}

impl Default for Course {
    fn default() -> Self {
        Self { latencies: [0; latency::BUCKETS], nanos: 0, failed: 0, last: 0 }
    }
}

impl Course {
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a PluginStats>) -> Self {
        let mut course = Self::default();
        for worker in workers {
            for (sum, count) in course.latencies.iter_mut().zip(&worker.latencies) {
                *sum = sum.wrapping_add(count.load(Relaxed));
            }
            course.nanos = course.nanos.wrapping_add(worker.nanos.load(Relaxed));
            course.failed += worker.failed.load(Relaxed);
            course.last = course.last.max(worker.last.load(Relaxed));
        }
        course
    }
}

/// The counts of all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginTotals {
    pub in_flight: i64,
    /// By [`UpstreamError::ALL`].
    pub errors: [u64; UpstreamError::ALL.len()],
    /// By [`Measure::ALL`].
    pub measures: [u64; Measure::ALL.len()],
}

impl PluginTotals {
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a PluginStats>) -> Self {
        let mut totals = Self::default();
        for worker in workers {
            totals.in_flight += worker.in_flight.load(Relaxed);
            add(&mut totals.errors, &worker.errors);
            add(&mut totals.measures, &worker.measures);
        }
        totals
    }
}

/// With one writer a load and a store are enough, and cheaper than an atomic addition.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

fn add(sums: &mut [u64], counts: &[AtomicU64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.load(Relaxed);
    }
}

fn method_class(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_the_workers_counted() {
        let workers = [RouteStats::default(), RouteStats::default()];
        workers[0].record(&Method::GET, StatusCode::OK, Duration::from_millis(2));
        workers[1].record(&Method::GET, StatusCode::CREATED, Duration::from_millis(1));
        workers[1].record(&Method::TRACE, StatusCode::BAD_GATEWAY, Duration::from_secs(20));
        let totals = RouteTotals::of(&workers);
        assert_eq!(totals.requests[0][1], 2);
        assert_eq!(totals.requests[7][4], 1);
        assert_eq!((totals.buckets[1], totals.buckets[2], totals.buckets[14]), (1, 1, 1));
        assert!((totals.seconds - 20.003).abs() < 1e-9);
    }

    #[test]
    fn counts_errors_by_kind() {
        let stats = PluginStats::default();
        stats.enter();
        stats.error(UpstreamError::Timeout);
        let totals = PluginTotals::of([&stats]);
        assert_eq!((totals.in_flight, totals.errors[5], totals.errors[0]), (1, 1, 0));
        stats.leave();
        assert_eq!(PluginTotals::of([&stats]).in_flight, 0);
    }
}
