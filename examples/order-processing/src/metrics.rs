//! What is counted and timed.

use std::time::Duration;

use forward_sdk::{
    Metrics,
    prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::{
    census::Census,
    order::Order,
    outcome::{Outcome, Reason},
    step::Step,
};

/// Upper bounds of the times that calls take, in seconds.
const SECONDS: [f64; 10] = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];

type Labels = [(&'static str, &'static str); 2];

/// The metrics; clones count together.
#[derive(Clone, Debug)]
pub struct Counts {
    finished: Family<Labels, Counter>,
    steps: Family<Labels, Histogram, fn() -> Histogram>,
    pub recovered: Counter,
    pub tracked: Counter,
    pub tracking_given_up: Counter,
    pending: Gauge,
    oldest: Gauge,
    untracked: Gauge,
}

impl Counts {
    pub fn new(metrics: &Metrics) -> Self {
        let seconds = (|| Histogram::new(SECONDS)) as fn() -> Histogram;
        let counts = Self {
            finished: Family::default(),
            steps: Family::new_with_constructor(seconds),
            recovered: Counter::default(),
            tracked: Counter::default(),
            tracking_given_up: Counter::default(),
            pending: Gauge::default(),
            oldest: Gauge::default(),
            untracked: Gauge::default(),
        };
        let Self { finished, steps, recovered, tracked, tracking_given_up, pending, oldest, untracked } =
            counts.clone();
        metrics.register("orders_finished", "Orders that came to their end, by outcome and reason", finished);
        metrics.register("order_step_seconds", "Time of the calls of a step, by how they ended", steps);
        metrics.register("orders_recovered", "Orders that were taken up in the background", recovered);
        metrics.register("orders_tracked", "Orders that analytics was told of", tracked);
        let help = "Orders that analytics is not told of any more";
        metrics.register("orders_tracking_given_up", help, tracking_given_up);
        metrics.register("orders_pending", "Orders under way", pending);
        metrics.register("orders_oldest_pending_seconds", "Age of the oldest order under way", oldest);
        metrics.register(
            "orders_tracking_backlog",
            "Completed orders that analytics is to be told of",
            untracked,
        );
        counts
    }

    /// A call of a step has ended.
    pub fn observe(&self, step: Step, outcome: &Outcome, time: Duration) {
        let labels = [("step", step.name()), ("outcome", outcome.name())];
        self.steps.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// An order has come to its end.
    pub fn finish(&self, order: &Order) {
        let reason = order.reason().map_or("", Reason::name);
        self.finished.get_or_create(&[("outcome", order.step.name()), ("reason", reason)]).inc();
    }

    pub fn show(&self, census: Census) {
        let Census { pending, oldest, untracked } = census;
        self.pending.set(pending);
        self.oldest.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        self.untracked.set(untracked);
    }
}
