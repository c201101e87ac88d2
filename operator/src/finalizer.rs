//! The operator's finalizer on a plugin: put on before anything is made for it, taken off when nothing is
//! left to wait for. Finalizers of others stay.

use forward_crds::{FINALIZER, Plugin};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    apply::{Kind, call_if_there},
    error::Error,
    ownership::MANAGER,
};

/// Whether a plugin has it.
pub fn is_on(plugin: &Plugin) -> bool {
    plugin.finalizers().iter().any(|name| name == FINALIZER)
}

/// Put it on a plugin. Answers whether the plugin was still there.
pub async fn put_on(client: &Client, plugin: &Plugin) -> Result<bool, Error> {
    let body = json!({
        "apiVersion": Plugin::api_version(&()),
        "kind": Plugin::kind(&()),
        "metadata": {"name": plugin.name_any(), "uid": plugin.uid(), "finalizers": [FINALIZER]},
    });
    patch(client, plugin, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await
}

/// Take it off a plugin: off this very version of it where it `matters` that nobody else does. Answers
/// whether the plugin was still there.
///
/// # Errors
/// A conflict where the plugin is another meanwhile and that matters: it is to be looked at again.
pub async fn take_off(client: &Client, plugin: &Plugin, matters: bool) -> Result<bool, Error> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    patch(client, plugin, &params, &Patch::Merge(without(plugin, matters))).await
}

/// The list without ours, as a merge. An apply would take off only what nobody else holds, and who has
/// applied the manifest of a backup holds the finalizer too.
fn without(plugin: &Plugin, matters: bool) -> Value {
    let kept: Vec<_> = plugin.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    // To a plugin that is being deleted nobody can add a finalizer: an empty list is right whatever
    // else was written meanwhile. Any other list could bring back or drop one of somebody else's.
    let is_right = kept.is_empty() && plugin.meta().deletion_timestamp.is_some();
    let mut body = json!({"metadata": {"uid": plugin.uid(), "finalizers": kept}});
    if matters || !is_right {
        body["metadata"]["resourceVersion"] = json!(plugin.resource_version());
    }
    body
}

async fn patch(
    client: &Client,
    plugin: &Plugin,
    params: &PatchParams,
    patch: &Patch<Value>,
) -> Result<bool, Error> {
    let (namespace, name) = (plugin.namespace().unwrap_or_default(), plugin.name_any());
    let api = Api::<Plugin>::namespaced(client.clone(), &namespace);
    let call = api.patch(&name, params, patch);
    Ok(call_if_there("set the finalizer of", Plugin::NAME, &name, call).await?.is_some())
}
