//! What a plugin's pods say of their configuration: what became of the newest one, where they take it
//! while they run, and whether they have to be started anew, where they read it only then. Pure.

use forward_crds::{Plugin, Reload, ReloadStatus};
use forward_plan::{ConditionReason, config_from_changed as started_after};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::verdict::Facts;

/// Whether the operator waits to hear that the plugin has taken its configuration.
pub fn is_reloading(plugin: &Plugin) -> bool {
    let ready = plugin.status.as_ref().and_then(|status| status.condition("Ready"));
    ready.is_some_and(|ready| ready.reason == ConditionReason::Reloading.as_str())
}

/// One that a pod has refused is told at once; that all pods have taken it, when all say so. Until
/// then `before` holds.
pub fn decide(facts: &Facts<'_>, before: Option<ReloadStatus>) -> Option<ReloadStatus> {
    if facts.plugin.reload() != Reload::InPlace {
        return None;
    }
    let said =
        facts.ready.iter().map(|ready| (ready, facts.pods.get(&ready.uid).and_then(|pod| pod.reload())));
    let said = said.collect::<Vec<_>>();
    let refusal = said.iter().find_map(|(ready, reloaded)| {
        let reloaded = (*reloaded)?;
        let error = reloaded.error.as_ref()?;
        let message = if said.len() > 1 { format!("{}: {error}", ready.pod) } else { error.clone() };
        Some(ReloadStatus { config_hash: reloaded.config_hash.clone(), message: Some(message) })
    });
    refusal
        .or_else(|| {
            let hashes: Option<Vec<_>> = said.iter().map(|(_, it)| it.map(|it| &it.config_hash)).collect();
            let hashes = hashes?;
            let (first, others) = hashes.split_first()?;
            let agreed = others.iter().all(|hash| hash == first);
            agreed.then(|| ReloadStatus { config_hash: (*first).clone(), message: None })
        })
        .or(before)
}

/// When a value of `configFrom` became another than pods started with. `before` holds while those that
/// say so were started before it, since they are being replaced for it.
pub fn config_from_changed(facts: &Facts<'_>, before: Option<&Time>) -> Option<Time> {
    let newest = started_after(facts.plugin).unwrap_or_default();
    let mut pods = facts.ready.iter().filter_map(|ready| facts.pods.get(&ready.uid));
    let is_new = pods.any(|pod| pod.config_from_changed() == Some(newest.as_str()));
    if is_new { Some(Time(facts.now)) } else { before.cloned() }
}
