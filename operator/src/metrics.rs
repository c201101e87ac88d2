//! What is counted; `docs/metrics.md` explains each. Labels are closed sets: besides a plugin's
//! name, none can grow with what is in the cluster.

mod plugins;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use forward_crds::HookName;
use forward_plan::{ConditionReason, Decision};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    error::{Category, Cause, Error},
    hooks::HookKind,
    index::Index,
    queue::Queue,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Applied,
    Unchanged,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CategoryLabel {
    pub category: Category,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// A variant of [`forward_plan::Action`].
    pub action: String,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabels {
    pub kind: &'static str,
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiErrorLabels {
    pub kind: &'static str,
    pub cause: Cause,
}

/// What is seen of the Lease.
#[derive(Clone, Debug, Default)]
pub struct LeaseCounters {
    pub renewals: Counter,
    pub failures: Counter,
}

/// What came of an admission review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verdict {
    Allowed,
    Warned,
    Denied,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    pub verdict: Verdict,
}

/// What came of a run of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HookEnd {
    Succeeded,
    Failed,
    Timeout,
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookEndLabels {
    pub hook: &'static str,
    pub kind: HookKind,
    pub outcome: HookEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookLabels {
    pub hook: &'static str,
    pub kind: HookKind,
}

/// The operator's metrics and the registry that renders them.
pub struct Metrics {
    registry: Registry,
    pub reconciles: Family<OutcomeLabel, Counter>,
    pub errors: Family<CategoryLabel, Counter>,
    pub duration: Histogram,
    pub leading: Gauge<i64, AtomicI64>,
    pub lease: LeaseCounters,
    in_flight: Gauge,
    decisions: Family<DecisionLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    api_errors: Family<ApiErrorLabels, Counter>,
    time_to_ready: Histogram,
    hooks: Family<HookEndLabels, Counter>,
    hook_seconds: Family<HookLabels, Histogram, fn() -> Histogram>,
    plugins: plugins::Source,
    pub reviews: Family<VerdictLabel, Counter>,
}

/// From the second that times of objects are exact to, to what a rollout may take at all.
const SLOW: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 3_600.0];

/// A reconciliation under way; dropping it ends it, however it ends.
pub struct InFlight(Gauge);

impl Metrics {
    pub fn new() -> Self {
        // From 1 ms, what a reconcile without a write takes, to 8 s.
        let duration = Histogram::new((0..14).map(|power| 0.001 * f64::from(1 << power)));
        let mut metrics = Self {
            registry: Registry::with_prefix("forward_operator"),
            reconciles: Family::default(),
            errors: Family::default(),
            duration,
            leading: Gauge::default(),
            lease: LeaseCounters::default(),
            in_flight: Gauge::default(),
            decisions: Family::default(),
            writes: Family::default(),
            api_errors: Family::default(),
            time_to_ready: Histogram::new(SLOW),
            hooks: Family::default(),
            hook_seconds: Family::new_with_constructor(hook_seconds),
            plugins: plugins::Source::default(),
            reviews: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self {
            registry,
            reconciles,
            errors,
            duration,
            leading,
            lease: LeaseCounters { renewals, failures },
            in_flight,
            decisions,
            writes,
            api_errors,
            time_to_ready,
            hooks,
            hook_seconds,
            plugins,
            reviews,
        } = self;
        registry.register("reconciles", "Reconciliations by outcome", reconciles.clone());
        registry.register("reconcile_errors", "Failed reconciliations by category", errors.clone());
        registry.register("reconcile_seconds", "Duration of reconciliations", duration.clone());
        registry.register("in_flight", "Reconciliations under way", in_flight.clone());
        registry.register("decisions", "Decisions by action and reason", decisions.clone());
        registry.register("writes", "Writes to the API server by kind and verb", writes.clone());
        let help = "Calls to the API server that ended a reconciliation, by kind and cause";
        registry.register("api_errors", help, api_errors.clone());
        let help = "Time from the begin of a change until the plugin was ready";
        registry.register("time_to_ready_seconds", help, time_to_ready.clone());
        registry.register("hook_runs", "Runs of hooks that have ended, by outcome", hooks.clone());
        registry.register("hook_seconds", "Duration of runs of hooks", hook_seconds.clone());
        registry.register("leading", "1 on the replica that acts", leading.clone());
        registry.register("lease_renewals", "Renewals of the own Lease", renewals.clone());
        let help = "Times that the API server did not confirm the Lease";
        registry.register("lease_failures", help, failures.clone());
        registry.register_collector(Box::new(plugins::Plugins::new(plugins, leading)));
        registry.register("reviews", "Admission reviews by verdict", reviews.clone());
    }

    /// Tell of the plugins in this index, and of those in this queue, for as long as the index is there.
    pub fn follow(&self, index: &Arc<Mutex<Index>>, queue: &Queue) {
        self.plugins.follow(index, queue);
    }

    /// A reconciliation begins.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Count a decision. Its reason is that of the condition Ready.
    pub fn decided(&self, decision: &Decision) {
        let ready = decision.conditions.iter().find(|condition| condition.type_ == "Ready");
        let reason = word(ready.map_or("", |condition| &condition.reason));
        let action = format!("{:?}", decision.action);
        self.decisions.get_or_create(&DecisionLabels { action, reason }).inc();
    }

    /// Count an object that was applied.
    pub fn wrote(&self, kind: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, verb: "apply" }).inc();
    }

    /// Count an object that was deleted.
    pub fn deleted(&self, kind: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, verb: "delete" }).inc();
    }

    /// Count what ended a reconciliation.
    pub fn failed(&self, error: &Error) {
        self.errors.get_or_create(&CategoryLabel { category: error.category() }).inc();
        if let Some((kind, cause)) = error.api_call() {
            self.api_errors.get_or_create(&ApiErrorLabels { kind, cause }).inc();
        }
    }

    /// A plugin became ready, so long after its change began.
    pub fn became_ready(&self, after: Duration) {
        self.time_to_ready.observe(after.as_secs_f64());
    }

    /// A run of a hook is over. How long it took, where that is known.
    pub fn hook_ended(&self, hook: HookName, kind: HookKind, outcome: HookEnd, took: Option<Duration>) {
        let hook = hook.as_str();
        self.hooks.get_or_create(&HookEndLabels { hook, kind, outcome }).inc();
        if let Some(took) = took {
            self.hook_seconds.get_or_create(&HookLabels { hook, kind }).observe(took.as_secs_f64());
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// With bounds for calls, which mostly end before what Jobs begin with.
fn hook_seconds() -> Histogram {
    Histogram::new([0.01, 0.1].into_iter().chain(SLOW))
}

/// A condition's reason as a label: what is none of the known words becomes `Unknown`, so that
/// nobody who writes to a status can make labels.
fn word(reason: &str) -> &'static str {
    let known = ConditionReason::ALL.iter().find(|known| known.as_str() == reason);
    known.copied().unwrap_or(ConditionReason::Unknown).as_str()
}

#[cfg(test)]
mod tests;
