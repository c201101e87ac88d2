//! Has the kubelet bring a changed configuration into running pods at once: it looks at a pod's
//! volumes when the pod changes, and otherwise about once a minute.

use forward_crds::Reload;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    apply::{MANAGER, Writer, call_if_there},
    build::CONFIG_HASH,
    error::{Category, Error},
    index::Live,
};

const KIND: &str = "Pod";

/// Note the hash of the configuration on every pod that has another, where pods take new
/// configurations while they run. Answers whether anything was written.
pub async fn refresh(writer: &Writer<'_>, live: &Live, hash: &str) -> Result<bool, Error> {
    if writer.plugin.spec.reload != Reload::InPlace {
        return Ok(false);
    }
    let stale = |pod: &&Pod| {
        let noted = pod.annotations().get(CONFIG_HASH).is_some_and(|noted| noted == hash);
        !noted && pod.meta().deletion_timestamp.is_none()
    };
    let mut wrote = false;
    for pod in live.pods.values().map(AsRef::as_ref).filter(stale) {
        note(writer, pod, hash).await?;
        wrote = true;
    }
    Ok(wrote)
}

async fn note(writer: &Writer<'_>, pod: &Pod, hash: &str) -> Result<(), Error> {
    let name = pod.name_any();
    let api = Api::<Pod>::namespaced(writer.client.clone(), &pod.namespace().unwrap_or_default());
    // With the uid, a pod that was made anew under the name is left alone.
    let body = json!({"metadata": {"uid": pod.uid(), "annotations": {CONFIG_HASH: hash}}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(body);
    match call_if_there("annotate", KIND, &name, api.patch(&name, &params, &patch)).await {
        Err(error) if error.category() == Category::Conflict => Ok(()),
        Err(error) => Err(error),
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            writer.metrics.wrote(KIND);
            Ok(())
        }
    }
}
