//! One plugin, from what is known to what should be: take a snapshot with its decision, build the
//! objects, apply what differs, write the status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use forward_crds::{Plugin, PluginStatus};
use forward_plan::{Action, ConditionReason, Decision, hook_revision, revision};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        controller,
        events::{Event, EventType, Recorder},
    },
};
use tracing::Instrument;

use crate::{
    apply::{Writer, call_api},
    build::{self, Objects, Peers},
    error::{Category, Error},
    hooks::{self, Calls},
    index::{Index, Snapshot, lock},
    live::Live,
    metrics::{Metrics, Outcome, OutcomeLabel},
    pace::Pace,
    refresh::refresh,
    status::{self, Difference},
    teardown::{self, Progress},
    watch::Known,
};

/// When an object is looked at again whose spec the API server refused: what stood in the way
/// may have gone without an event for us.
const AFTER_INVALID: Duration = Duration::from_secs(60);

/// Waits that end by themselves, of which no event tells: the status says so while it is, and most
/// are over when somebody reads of them.
const PASSING: [ConditionReason; 3] = [
    ConditionReason::WaitingForDependencies,
    ConditionReason::WaitingForSlot,
    ConditionReason::WaitingForRegistration,
];

/// What every reconciliation shares.
pub struct Context {
    pub client: Client,
    pub index: Arc<Mutex<Index>>,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub peers: Peers,
    pub calls: Arc<Calls>,
    /// How long to wait before the next try, for plugins whose last one failed.
    pub retries: Mutex<BTreeMap<(String, String), ExponentialBackoff>>,
    /// Whose status is written when.
    pub pace: Mutex<Pace>,
}

/// Reconcile one plugin and count how it went.
pub async fn reconcile(known: Arc<Known>, context: Arc<Context>) -> Result<controller::Action, Error> {
    let (namespace, name) = key(&*known);
    let span = tracing::info_span!("reconcile", plugin = format!("{namespace}/{name}"));
    let _in_flight = context.metrics.begin();
    let start = Instant::now();
    let result = run(&namespace, &name, &context).instrument(span).await;
    context.metrics.duration.observe(start.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok((true, _)) => Outcome::Applied,
        Ok((false, _)) => Outcome::Unchanged,
        Err(_) => Outcome::Failed,
    };
    context.metrics.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
    let (_, action) = result?;
    lock(&context.retries).remove(&(namespace, name));
    Ok(action)
}

/// When to try again after an error: once something changed, or after a growing time with jitter.
pub fn on_error(known: Arc<Known>, error: &Error, context: Arc<Context>) -> controller::Action {
    let category = error.category();
    context.metrics.failed(error);
    let key = key(&*known);
    let name = format!("{}/{}", key.0, key.1);
    tracing::warn!(plugin = name, ?category, error = chain(error), "reconcile failed");
    match category {
        Category::Invalid => controller::Action::requeue(AFTER_INVALID),
        Category::Conflict | Category::Transient => {
            let mut retries = lock(&context.retries);
            let backoff = retries.entry(key).or_insert_with(|| {
                ExponentialBuilder::new()
                    .with_jitter()
                    .with_min_delay(Duration::from_millis(200))
                    .with_max_delay(Duration::from_secs(60))
                    .without_max_times()
                    .build()
            });
            controller::Action::requeue(backoff.next().unwrap_or(AFTER_INVALID))
        }
    }
}

async fn run(namespace: &str, name: &str, context: &Context) -> Result<(bool, controller::Action), Error> {
    let Some(snapshot) = lock(&context.index).snapshot(namespace, name) else {
        return Ok((false, controller::Action::await_change()));
    };
    let Snapshot { plugin, decision, .. } = &snapshot;
    tracing::debug!(action = ?decision.action, reason = %decision.reason, "decided");
    context.metrics.decided(decision);
    let writer = Writer { client: &context.client, metrics: &context.metrics, plugin };
    let deleting = plugin.meta().deletion_timestamp.is_some();
    if !deleting {
        teardown::guard(&writer).await?;
    }
    let awaited = hooks::begin(&writer, &snapshot, &context.peers, &context.calls, Instant::now()).await?;
    let acted = act(&writer, &snapshot, &context.peers).await;
    let mut desired = status::build(&snapshot, Timestamp::now());
    match acted {
        // There is nothing left to write a status to.
        Ok(Done { gone: true, .. }) => {
            lock(&context.pace).forget(&key(&**plugin));
            return Ok((true, controller::Action::await_change()));
        }
        Err(error) if error.category() != Category::Invalid => return Err(error),
        Err(ref error) => status::refuse(&mut desired, plugin, error, Timestamp::now()),
        Ok(_) => {}
    }
    let difference = status::difference(plugin, &desired);
    let lag = lock(&context.pace).wait(&key(&**plugin), difference, Instant::now());
    let told =
        lag.is_none() && difference != Difference::None && write_status(context, plugin, &desired).await?;
    acted.map(|done| {
        // At the latest when the time of a hook is over.
        let next = [lag, done.next, awaited].into_iter().flatten().min();
        let next = next.map_or_else(controller::Action::await_change, controller::Action::requeue);
        (done.wrote || told, next)
    })
}

/// What came of a decision.
struct Done {
    /// Whether an object was written or deleted.
    wrote: bool,
    /// Whether the plugin was let go.
    gone: bool,
    /// When to look again, where no event tells.
    next: Option<Duration>,
}

impl Done {
    fn new(wrote: bool) -> Self {
        Self { wrote, gone: false, next: None }
    }
}

/// Do what was decided.
async fn act(writer: &Writer<'_>, snapshot: &Snapshot, peers: &Peers) -> Result<Done, Error> {
    match snapshot.decision.action {
        Action::Apply => Ok(Done::new(apply(writer, snapshot, peers, snapshot.plugin.spec.replicas).await?)),
        Action::Stop => Ok(Done::new(apply(writer, snapshot, peers, 0).await?)),
        Action::Hold => Ok(Done::new(false)),
        Action::Unload => Ok(Done::new(teardown::unload(writer, &snapshot.live).await?)),
        Action::Delete => Ok(match teardown::remove(writer, &snapshot.live, Instant::now()).await? {
            Progress::Asked { now } => Done::new(now),
            Progress::Left(left) => Done { next: Some(left), ..Done::new(false) },
            Progress::Gone => Done { gone: true, ..Done::new(true) },
        }),
    }
}

async fn apply(
    writer: &Writer<'_>,
    snapshot: &Snapshot,
    peers: &Peers,
    replicas: i32,
) -> Result<bool, Error> {
    let Snapshot { plugin, overrides: _, system, settings, live, decision } = snapshot;
    let hooks = has_hooks(plugin).then(|| hook_revision(plugin, settings));
    let input = build::Input {
        plugin,
        system: system.as_deref().map(|system| &system.spec),
        peers,
        revision: &revision(plugin, settings),
        hooks: hooks.as_deref(),
        stage: decision.stage,
        replicas,
    };
    let Objects {
        service_account,
        config_map,
        config_hash,
        stage_map,
        service,
        network_policy,
        disruption_budget,
        deployment,
    } = build::build(&input).map_err(|source| Error::Build {
        kind: "Deployment",
        name: plugin.name_any(),
        source,
    })?;
    let account = async {
        match &service_account {
            Some(account) => writer.apply(account, live.service_account.as_ref()).await,
            None => Ok(false),
        }
    };
    let stage = async {
        match &stage_map {
            Some(map) => writer.apply(map, live.config_maps.get(&map.name_any())).await,
            None => Ok(false),
        }
    };
    // The pods need all of them, and never run without the policy; they do not need each other.
    let wrote: [bool; 6] = tokio::try_join!(
        account,
        stage,
        writer.apply(&config_map, live.config_maps.get(&config_map.name_any())),
        writer.apply(&service, live.service.as_ref()),
        writer.apply(&network_policy, live.network_policy.as_ref()),
        writer.apply_or_delete(disruption_budget.as_ref(), live.disruption_budget.as_ref()),
    )?
    .into();
    let wrote = writer.apply(&deployment, live.deployment.as_ref()).await? || wrote.contains(&true);
    let wrote = refresh(writer, live, &config_hash, hooks.as_deref().zip(decision.stage)).await? || wrote;
    // The configuration that a hook's Job has is not always the one that pods have.
    if !wrote && is_rolled_out(decision) && decision.calls.is_empty() {
        let current = std::iter::once(&config_map).chain(&stage_map).map(ResourceExt::name_any);
        remove_old_configs(writer, live, &current.collect()).await?;
    }
    Ok(wrote)
}

/// Whether it makes a difference for which spec hooks were run.
fn has_hooks(plugin: &Plugin) -> bool {
    plugin.spec.hooks.is_some() || !plugin.spec.auto_start
}

fn is_rolled_out(decision: &Decision) -> bool {
    decision.conditions.iter().any(|condition| condition.type_ == "Available" && condition.status == "True")
}

/// Configurations that no pod can start with any more.
async fn remove_old_configs(
    writer: &Writer<'_>,
    live: &Live,
    current: &BTreeSet<String>,
) -> Result<(), Error> {
    for config_map in live.config_maps.iter() {
        if !current.contains(&*config_map.identity.name) {
            writer.delete(config_map).await?;
        }
    }
    Ok(())
}

async fn write_status(context: &Context, plugin: &Plugin, desired: &PluginStatus) -> Result<bool, Error> {
    if !status::apply(&context.client, plugin, desired).await? {
        return Ok(false);
    }
    context.metrics.wrote("PluginStatus");
    if let Some(after) = plugin.status.as_ref().and_then(|before| status::time_to_ready(before, desired)) {
        context.metrics.became_ready(after);
    }
    let before = plugin.status.as_ref().and_then(|status| ready(status));
    if let Some(now) = ready(desired).filter(|now| before.map(|before| &before.reason) != Some(&now.reason)) {
        tracing::info!(reason = now.reason, message = now.message, "state changed");
        if !PASSING.iter().any(|passing| passing.as_str() == now.reason) {
            publish(context, plugin, desired, now).await;
        }
    }
    Ok(true)
}

fn ready(status: &PluginStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// Tell people. An event that is lost is logged and not tried again: the status says the same.
async fn publish(context: &Context, plugin: &Plugin, status: &PluginStatus, ready: &Condition) {
    let reconciling = |condition: &Condition| condition.type_ == "Reconciling" && condition.status == "True";
    let on_the_way = ready.status == "True" || status.conditions.iter().any(reconciling);
    let event = Event {
        type_: if on_the_way { EventType::Normal } else { EventType::Warning },
        reason: ready.reason.clone(),
        // The API server refuses notes of more than 1 kB.
        note: Some(ready.message.chars().take(1_000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let about = plugin.object_ref(&());
    let call = context.recorder.publish(&event, &about);
    if let Err(error) = call_api("publish", "Event", &plugin.name_any(), call).await {
        tracing::warn!(error = chain(&error), reason = ready.reason, "event lost");
    }
}

fn key(plugin: &impl ResourceExt) -> (String, String) {
    (plugin.namespace().unwrap_or_default(), plugin.name_any())
}

/// An error with its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[cfg(test)]
mod tests;
