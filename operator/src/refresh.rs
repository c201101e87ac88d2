//! Has the kubelet bring a changed configuration, or the leave to go on, into running pods at once:
//! it looks at a pod's volumes when the pod changes, and otherwise about once a minute.

use std::{collections::BTreeMap, sync::Arc};

use forward_crds::Reload;
use forward_plan::Stage;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    apply::{Writer, call_if_there},
    build::{CONFIG_HASH, HOOK_REVISION, STAGE_NOTE},
    error::{Category, Error},
    kept::{Identity, Kept},
    live::Live,
    ownership::MANAGER,
};

const KIND: &str = "Pod";

/// Note the hash of the configuration on every pod that has another, where pods take new
/// configurations while they run; and how far they may go, on those of the spec that waits for
/// that. Answers whether anything was written.
pub async fn refresh(
    writer: &Writer<'_>,
    live: &Live,
    hash: &str,
    stage: Option<(&str, Stage)>,
) -> Result<bool, Error> {
    let in_place = writer.plugin.spec.reload == Reload::InPlace;
    let mut wrote = false;
    let stays = |pod: &&Arc<Kept<Pod>>| pod.identity.deadline.is_none() && !pod.facts.is_ended();
    for pod in live.pods.iter().filter(stays) {
        let waits = |revision: &str| pod.facts.annotation(HOOK_REVISION).is_some_and(|it| it == revision);
        // What they may do from the beginning they need not be told.
        let stage = stage.filter(|(revision, stage)| *stage > Stage::Wait && waits(revision));
        let notes =
            [in_place.then_some((CONFIG_HASH, hash)), stage.map(|(_, stage)| (STAGE_NOTE, stage.as_str()))];
        let is_stale = |(key, value): &(&str, &str)| pod.facts.annotation(key).is_none_or(|it| it != *value);
        let notes: BTreeMap<_, _> = notes.into_iter().flatten().filter(is_stale).collect();
        if !notes.is_empty() {
            note(writer, &pod.identity, &notes).await?;
            wrote = true;
        }
    }
    Ok(wrote)
}

async fn note(writer: &Writer<'_>, pod: &Identity, notes: &BTreeMap<&str, &str>) -> Result<(), Error> {
    let Identity { namespace, name, uid, .. } = pod;
    let api = Api::<Pod>::namespaced(writer.client.clone(), namespace);
    // With the uid, a pod that was made anew under the name is left alone.
    let body = json!({"metadata": {"uid": uid, "annotations": notes}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(body);
    match call_if_there("annotate", KIND, name, api.patch(name, &params, &patch)).await {
        Err(error) if error.category() == Category::Conflict => Ok(()),
        Err(error) => Err(error),
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            writer.metrics.wrote(KIND);
            Ok(())
        }
    }
}
