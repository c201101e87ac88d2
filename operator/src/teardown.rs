//! The end of a plugin: its pods first, then its finalizer; the garbage collector takes the rest.

use std::time::{Duration, Instant};

use forward_crds::Plugin;

use crate::{
    apply::{Kind, Writer},
    error::Error,
    finalizer,
    live::Live,
};

/// How long past its own deadline a pod may hold up the end of its plugin: after that its node is
/// taken for lost.
const LOST: Duration = Duration::from_secs(60);

/// Put the operator's finalizer on a plugin that has none. Answers whether it was one.
pub async fn guard(writer: &Writer<'_>) -> Result<bool, Error> {
    let Writer { client, plugin, .. } = writer;
    Ok(!finalizer::is_on(plugin) && count(writer, finalizer::put_on(client, plugin).await?))
}

/// Tell the Deployment to go, and what is there for its pods only. Answers whether that was still
/// to be said.
pub async fn unload(writer: &Writer<'_>, live: &Live) -> Result<bool, Error> {
    let budget = writer.apply_or_delete(None, live.disruption_budget.as_ref()).await?;
    let deployment =
        match live.deployment.as_ref().filter(|deployment| deployment.identity.deadline.is_none()) {
            Some(deployment) => writer.delete(deployment).await.map(|()| true)?,
            None => false,
        };
    Ok(budget || deployment)
}

/// How far the end of a plugin has come.
pub enum Progress {
    /// The Deployment was told to go, `now` or before; its events come back here.
    Asked { now: bool },
    /// Pods are left. They hold this up for that long at most.
    Left(Duration),
    /// The finalizer is off, taken off `now` or before, and the plugin with it unless others hold it.
    Gone { now: bool },
}

/// Remove the Deployment, and once no pod is left, the finalizer: off this very version of the plugin
/// where it `matters` that nobody else does.
pub async fn remove(
    writer: &Writer<'_>,
    live: &Live,
    matters: bool,
    now: Instant,
) -> Result<Progress, Error> {
    if live.deployment.is_some() {
        return Ok(Progress::Asked { now: unload(writer, live).await? });
    }
    // The garbage collector takes those that have ended, with the ReplicaSet.
    let left = live.pods.iter().filter(|pod| !pod.facts.is_ended());
    let left = left.map(|pod| match pod.identity.deadline {
        Some(deadline) => (deadline + LOST).saturating_duration_since(now),
        None => LOST,
    });
    if let Some(left) = left.max().filter(|left| !left.is_zero()) {
        return Ok(Progress::Left(left));
    }
    let Writer { client, plugin, .. } = writer;
    let now = finalizer::is_on(plugin) && count(writer, finalizer::take_off(client, plugin, matters).await?);
    Ok(Progress::Gone { now })
}

/// Count a write of the finalizer, where there was something to write to.
fn count(writer: &Writer<'_>, is_there: bool) -> bool {
    if is_there {
        writer.metrics.wrote(Plugin::NAME);
    }
    is_there
}
