//! The end of a plugin: its pods first, then its finalizer; the garbage collector takes the rest.

use std::time::{Duration, Instant};

use forward_crds::{FINALIZER, Plugin};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    apply::{Kind, Writer, call_if_there},
    error::Error,
    live::Live,
    ownership::MANAGER,
};

/// How long past its own deadline a pod may hold up the end of its plugin: after that its node is
/// taken for lost.
const LOST: Duration = Duration::from_secs(60);

/// Put the operator's finalizer on a plugin that has none. Answers whether it was one.
pub async fn guard(writer: &Writer<'_>) -> Result<bool, Error> {
    Ok(!is_guarded(writer) && set_finalizers(writer, &[FINALIZER], None).await?)
}

fn is_guarded(writer: &Writer<'_>) -> bool {
    writer.plugin.finalizers().iter().any(|name| name == FINALIZER)
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

/// Remove the Deployment, and once no pod is left, the finalizer: of this `version` of the plugin where
/// it matters that nobody else does.
pub async fn remove(
    writer: &Writer<'_>,
    live: &Live,
    version: Option<&str>,
    now: Instant,
) -> Result<Progress, Error> {
    if live.deployment.is_some() {
        return Ok(Progress::Asked { now: unload(writer, live).await? });
    }
    let left = live.pods.iter().map(|pod| match pod.identity.deadline {
        Some(deadline) => (deadline + LOST).saturating_duration_since(now),
        None => LOST,
    });
    if let Some(left) = left.max().filter(|left| !left.is_zero()) {
        return Ok(Progress::Left(left));
    }
    let now = is_guarded(writer) && set_finalizers(writer, &[], version).await?;
    Ok(Progress::Gone { now })
}

/// The operator's finalizers; those of others stay. Answers whether the plugin was still there.
async fn set_finalizers(
    writer: &Writer<'_>,
    finalizers: &[&str],
    version: Option<&str>,
) -> Result<bool, Error> {
    let name = writer.plugin.name_any();
    let mut body = json!({
        "apiVersion": Plugin::api_version(&()),
        "kind": Plugin::kind(&()),
        "metadata": {"name": name, "uid": writer.plugin.uid(), "finalizers": finalizers},
    });
    if let Some(version) = version {
        body["metadata"]["resourceVersion"] = json!(version);
    }
    let api =
        Api::<Plugin>::namespaced(writer.client.clone(), &writer.plugin.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(body);
    let call = api.patch(&name, &params, &patch);
    let is_there = call_if_there("set the finalizer of", Plugin::NAME, &name, call).await?.is_some();
    if is_there {
        writer.metrics.wrote(Plugin::NAME);
    }
    Ok(is_there)
}
