//! What is measured of the plugin besides its routes, which the SDK measures.

use forward_sdk::prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};

/// Upper bounds of the times that the storage takes, in seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];

type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Debug)]
pub struct Metrics {
    events: Family<Labels, Counter>,
    /// Streams of events that are open.
    pub streams: Gauge,
    /// Streams that were ended since their readers were too slow.
    pub streams_dropped: Counter,
    /// Events that were forgotten since they were too old.
    pub expired: Counter,
    pub storage_errors: Counter,
    pub append_seconds: Histogram,
    pub query_seconds: Histogram,
}

impl Metrics {
    pub fn new(registry: &forward_sdk::Metrics) -> Self {
        let metrics = Self {
            events: Family::default(),
            streams: Gauge::default(),
            streams_dropped: Counter::default(),
            expired: Counter::default(),
            storage_errors: Counter::default(),
            append_seconds: Histogram::new(SECONDS),
            query_seconds: Histogram::new(SECONDS),
        };
        let Self { events, streams, streams_dropped, expired, storage_errors, append_seconds, query_seconds } =
            metrics.clone();
        registry.register("analytics_events", "Events that were sent here, by what became of them", events);
        registry.register("analytics_streams", "Streams of events that are open", streams);
        let help = "Streams of events that were ended since their readers were too slow";
        registry.register("analytics_streams_dropped", help, streams_dropped);
        registry.register("analytics_events_expired", "Events that were forgotten for their age", expired);
        registry.register("analytics_storage_errors", "Requests that the storage did not do", storage_errors);
        registry.register("analytics_append_seconds", "Time to keep a batch of events", append_seconds);
        registry.register("analytics_query_seconds", "Time to answer a question", query_seconds);
        metrics
    }

    /// Counts events by what became of them: `accepted`, `duplicate` or `sampled_out`.
    pub fn count_events(&self, outcome: &'static str, events: usize) {
        self.events.get_or_create(&[("outcome", outcome)]).inc_by(events as u64);
    }
}
