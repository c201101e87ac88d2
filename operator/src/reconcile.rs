//! One plugin, from what is known to what should be: take a snapshot with its decision, build the
//! objects, apply what differs, write the status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use forward_crds::{Condition, Plugin, PluginStatus};
use forward_plan::{Action, Decision, hook_revision, revision};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder},
};
use tracing::Instrument;

use crate::{
    apply::{Writer, call_api},
    build::{self, Objects, Peers},
    error::{Category, Error},
    hooks::{self, Calls, Ends, Tally},
    index::{Index, Snapshot, lock},
    live::Live,
    metrics::{Metrics, Outcome, OutcomeLabel},
    pace::Pace,
    queue::Key,
    refresh::refresh,
    status::{self, Difference},
    teardown::{self, Progress},
};

/// When an object is looked at again whose spec the API server refused: what stood in the way
/// may have gone without an event for us.
const AFTER_INVALID: Duration = Duration::from_secs(60);

/// What every reconciliation shares.
pub struct Context {
    pub client: Client,
    pub index: Arc<Mutex<Index>>,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub peers: Peers,
    pub calls: Arc<Calls>,
    /// Which runs of hooks were counted.
    pub tally: Tally,
    /// How long to wait before the next try, for plugins whose last one failed.
    pub retries: Mutex<BTreeMap<Key, ExponentialBackoff>>,
    /// Whose status is written when.
    pub pace: Mutex<Pace>,
}

/// Reconcile one plugin and count how it went. The answer is after what time to look again, where no
/// event tells.
pub async fn reconcile(plugin: &Key, context: &Context) -> Result<Option<Duration>, Error> {
    let (namespace, name) = plugin;
    let span = tracing::info_span!("reconcile", plugin = format!("{namespace}/{name}"));
    let _in_flight = context.metrics.begin();
    let start = Instant::now();
    let result = run(plugin, context).instrument(span).await;
    context.metrics.duration.observe(start.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok((true, _)) => Outcome::Applied,
        Ok((false, _)) => Outcome::Unchanged,
        Err(_) => Outcome::Failed,
    };
    context.metrics.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
    let (_, next) = result?;
    lock(&context.retries).remove(plugin);
    Ok(next)
}

/// After what time to try again after an error, where nothing changes before: a growing one with jitter.
pub fn on_error(plugin: &Key, error: &Error, context: &Context) -> Duration {
    let category = error.category();
    context.metrics.failed(error);
    let name = format!("{}/{}", plugin.0, plugin.1);
    tracing::warn!(plugin = name, ?category, error = chain(error), "reconcile failed");
    match category {
        Category::Invalid => AFTER_INVALID,
        Category::Conflict | Category::Transient => {
            let mut retries = lock(&context.retries);
            let backoff = retries.entry(plugin.clone()).or_insert_with(|| {
                ExponentialBuilder::new()
                    .with_jitter()
                    .with_min_delay(Duration::from_millis(200))
                    .with_max_delay(Duration::from_secs(60))
                    .without_max_times()
                    .build()
            });
            backoff.next().unwrap_or(AFTER_INVALID)
        }
    }
}

async fn run(id: &Key, context: &Context) -> Result<(bool, Option<Duration>), Error> {
    let Some(snapshot) = lock(&context.index).snapshot(&id.0, &id.1) else {
        context.tally.forget(id);
        return Ok((false, None));
    };
    let Snapshot { plugin, decision, .. } = &snapshot;
    tracing::debug!(action = ?decision.action, reason = %decision.reason, "decided");
    context.metrics.decided(decision);
    let writer = Writer { client: &context.client, metrics: &context.metrics, plugin };
    let deleting = plugin.meta().deletion_timestamp.is_some();
    if !deleting && teardown::guard(&writer).await? && !decision.hooks.is_empty() {
        // What is said of a hook is written over one version of the plugin, which now is another: its
        // event comes back here.
        return Ok((true, None));
    }
    let awaited = hooks::begin(&writer, &snapshot, &context.peers, &context.calls, Instant::now()).await?;
    let ends = context.tally.ends(id, &snapshot);
    let acted = act(&writer, &snapshot, &context.peers, &ends).await;
    let mut desired = status::build(&snapshot, Timestamp::now());
    match acted {
        // There is nothing left to write a status to.
        Ok(Done { gone: true, wrote, .. }) => {
            if wrote {
                context.tally.count(ends, &context.metrics);
            }
            lock(&context.pace).forget(id);
            return Ok((true, None));
        }
        Err(error) if error.category() != Category::Invalid => return Err(error),
        Err(ref error) => status::refuse(&mut desired, plugin, error, Timestamp::now()),
        Ok(_) => {}
    }
    let difference = status::difference(plugin, &desired);
    let lag = lock(&context.pace).wait(id, difference, Instant::now());
    let told = lag.is_none()
        && difference != Difference::None
        && write_status(context, plugin, &desired, ends).await?;
    acted.map(|done| {
        // At the latest when the time of a hook is over.
        (done.wrote || told, [lag, done.next, awaited].into_iter().flatten().min())
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
async fn act(writer: &Writer<'_>, snapshot: &Snapshot, peers: &Peers, ends: &Ends) -> Result<Done, Error> {
    match snapshot.decision.action {
        Action::Apply => Ok(Done::new(apply(writer, snapshot, peers, snapshot.plugin.spec.replicas).await?)),
        Action::Stop => Ok(Done::new(apply(writer, snapshot, peers, 0).await?)),
        Action::Hold => Ok(Done::new(false)),
        Action::Unload => Ok(Done::new(teardown::unload(writer, &snapshot.live).await?)),
        Action::Delete => {
            // Who takes the finalizer off counts how its hooks ended.
            let matters = !ends.is_empty();
            Ok(match teardown::remove(writer, &snapshot.live, matters, Instant::now()).await? {
                Progress::Asked { now } => Done::new(now),
                Progress::Left(left) => Done { next: Some(left), ..Done::new(false) },
                Progress::Gone { now } => Done { gone: true, ..Done::new(now) },
            })
        }
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

async fn write_status(
    context: &Context,
    plugin: &Plugin,
    desired: &PluginStatus,
    ends: Ends,
) -> Result<bool, Error> {
    if !status::apply(&context.client, plugin, desired, !ends.is_empty()).await? {
        return Ok(false);
    }
    context.tally.count(ends, &context.metrics);
    context.metrics.wrote("PluginStatus");
    if let Some(after) = status::time_to_ready(plugin, desired) {
        context.metrics.became_ready(after);
    }
    let before = plugin.status.as_ref().and_then(|status| status.condition("Ready"));
    if let Some(now) =
        desired.condition("Ready").filter(|now| before.map(|before| &before.reason) != Some(&now.reason))
    {
        tracing::info!(reason = %now.reason, message = %now.message, "state changed");
        // Of waits that end by themselves the status tells, and most are over when somebody reads of them.
        if !status::is_passing(&now.reason) {
            publish(context, plugin, desired, now).await;
        }
    }
    Ok(true)
}

/// Tell people. An event that is lost is logged and not tried again: the status says the same.
async fn publish(context: &Context, plugin: &Plugin, status: &PluginStatus, ready: &Condition) {
    let is_reconciling = status.condition("Reconciling").is_some_and(|it| it.status == "True");
    let on_the_way = ready.status == "True" || is_reconciling;
    let event = Event {
        type_: if on_the_way { EventType::Normal } else { EventType::Warning },
        reason: ready.reason.to_string(),
        // The API server refuses notes of more than 1 kB.
        note: Some(ready.message.chars().take(1_000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let about = plugin.object_ref(&());
    let call = context.recorder.publish(&event, &about);
    if let Err(error) = call_api("publish", "Event", &plugin.name_any(), call).await {
        tracing::warn!(error = chain(&error), reason = %ready.reason, "event lost");
    }
}

/// An error with its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[cfg(test)]
mod tests;
