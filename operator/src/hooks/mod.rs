//! Runs the hooks that were decided to be due: Jobs by the API server, calls of Services in tasks of
//! their own, so that nobody waits for a slow one. What came of them is an observation like any
//! other, from which the next decision follows.

mod call;
mod places;
mod tally;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forward_crds::{Hook, HookHttp, HookJob};
use forward_plan::{HookCall, HookRun};
use kube::{Resource, ResourceExt};
use prometheus_client::encoding::EncodeLabelValue;

pub use call::{Calls, Target};
pub use tally::{Ends, Tally};

use crate::{
    apply::Writer,
    build::{self, HookInput, Peers},
    error::Error,
    index::Snapshot,
};

/// How long past its time a hook is waited for whose end nobody tells: its Job was deleted again and
/// again, for example by a deletion in the foreground. The time runs from when this process saw it due:
/// clocks are set, and those of two machines differ.
const LOST: Duration = Duration::from_secs(60);
/// What the API server says when something is to be made in a namespace that is being deleted.
const TERMINATING: &str = "being terminated";

/// What is done for a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HookKind {
    Job,
    Http,
}

/// What is seen of a run of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub run: HookRun,
    pub kind: HookKind,
    /// Whether it failed for want of time.
    pub late: bool,
    /// How long it took: of a Job from its creation to its end, as the API server has them; of a call from
    /// when there was a place for it to its answer. Nothing where one of the two was not seen.
    pub took: Option<Duration>,
}

/// Begin those hooks of a plugin that are due and do not run. Answers when to look again at the
/// latest; nothing where no hook runs.
pub async fn begin(
    writer: &Writer<'_>,
    snapshot: &Snapshot,
    peers: &Peers,
    calls: &Arc<Calls>,
    now: Instant,
) -> Result<Option<Duration>, Error> {
    let mut next: Option<Duration> = None;
    let due = calls.due(snapshot, now);
    for call in &snapshot.decision.calls {
        let hooks = snapshot.plugin.spec.hooks.as_ref();
        let Some(hook) = hooks.and_then(|hooks| hooks.get(call.hook)) else { continue };
        let left = (due[&call.id] + hook.limit().get() + LOST).saturating_duration_since(now);
        if left.is_zero() {
            let message = "nothing was heard of it in time".to_owned();
            let run = HookRun::Failed { message };
            answer(snapshot, calls, call, Ran { late: true, ..Ran::untimed(kind(hook), run) });
            continue;
        }
        next = Some(next.map_or(left, |next| next.min(left)));
        if !call.going {
            start(writer, snapshot, peers, calls, (call, hook)).await?;
        }
    }
    Ok(next)
}

async fn start(
    writer: &Writer<'_>,
    snapshot: &Snapshot,
    peers: &Peers,
    calls: &Arc<Calls>,
    (call, hook): (&HookCall, &Hook),
) -> Result<(), Error> {
    let told = |run| answer(snapshot, calls, call, Ran::untimed(kind(hook), run));
    match hook {
        Hook { job: Some(job), .. } => {
            match start_job(writer, snapshot, peers, (call, hook, job)).await {
                // It is not the plugin's alone to put that right, and it must not be asked for ever.
                Err(Error::Refused { message, .. }) if message.contains(TERMINATING) => {
                    let message = "the namespace is being deleted, where no Job can be made".to_owned();
                    told(HookRun::Skipped { message });
                }
                Err(error @ (Error::Refused { .. } | Error::ForeignObject { .. })) => {
                    told(HookRun::Failed { message: error.to_string() });
                }
                result => return result,
            }
        }
        Hook { http: Some(http), .. } => calls.start(target(snapshot, call, hook, http)),
        // No rule of the API lets such a hook in.
        Hook { .. } => {
            let message = "it has neither job nor http".to_owned();
            told(HookRun::Failed { message });
        }
    }
    Ok(())
}

async fn start_job(
    writer: &Writer<'_>,
    snapshot: &Snapshot,
    peers: &Peers,
    (call, hook, job): (&HookCall, &Hook, &HookJob),
) -> Result<(), Error> {
    let Snapshot { plugin, system, live, decision, .. } = snapshot;
    let input = HookInput {
        plugin,
        system: system.as_deref().map(|system| &system.spec),
        peers,
        call,
        job,
        limit: hook.limit().whole_seconds(),
        message: &decision.reason.to_string(),
    };
    let objects = build::hook(&input).map_err(|source| Error::Build {
        kind: "Job",
        name: plugin.name_any(),
        source,
    })?;
    if let Some(account) = &objects.service_account {
        writer.apply(account, live.service_account.as_ref()).await?;
    }
    let config_map = &objects.config_map;
    writer.apply(config_map, live.config_maps.get(&config_map.name_any())).await?;
    writer.apply(&objects.network_policy, live.hook_policy.as_ref()).await?;
    // Its event may be on its way; what the message says may have changed, and a Job cannot.
    if writer.create(&objects.job).await? {
        tracing::info!(hook = %call.hook, job = objects.job.name_any(), "hook started");
    }
    Ok(())
}

fn target(snapshot: &Snapshot, call: &HookCall, hook: &Hook, http: &HookHttp) -> Target {
    let Snapshot { plugin, decision, .. } = snapshot;
    Target {
        namespace: plugin.namespace().unwrap_or_default(),
        plugin: plugin.name_any(),
        version: plugin.spec.version.clone(),
        call: call.clone(),
        http: http.clone(),
        limit: hook.limit().get(),
        message: decision.reason.to_string(),
    }
}

fn kind(hook: &Hook) -> HookKind {
    if hook.job.is_some() { HookKind::Job } else { HookKind::Http }
}

fn answer(snapshot: &Snapshot, calls: &Calls, call: &HookCall, ran: Ran) {
    let meta = snapshot.plugin.meta();
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    calls.sink.answer(namespace.unwrap_or_default(), name.unwrap_or_default(), &call.id, ran);
}

#[cfg(test)]
mod fields;
#[cfg(test)]
mod tests;
