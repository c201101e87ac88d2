//! Writes the gateway's part of a plugin's status, by server-side apply under the gateway's name.

use std::time::Duration;

use forward_crds::Plugin;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::verdict::Registration;

/// The field manager. All replicas are one writer.
const MANAGER: &str = "forward-gateway";
/// How long a write may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("write the status of \"{0}\"")]
    Call(String, #[source] Box<kube::Error>),
    #[error("write the status of \"{0}\" within {TIMEOUT:?}")]
    Timeout(String),
}

/// Write a registration; the answer is the plugin as it is then, or `None` when it is gone.
pub async fn write(
    client: &Client,
    plugin: &Plugin,
    registration: &Registration,
) -> Result<Option<Plugin>, WriteError> {
    let name = plugin.name_any();
    let api = Api::<Plugin>::namespaced(client.clone(), &plugin.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(body(plugin, registration));
    match tokio::time::timeout(TIMEOUT, api.patch_status(&name, &params, &patch)).await {
        Ok(Ok(plugin)) => Ok(Some(plugin)),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
        Ok(Err(error)) => Err(WriteError::Call(name, Box::new(error))),
        Err(_) => Err(WriteError::Timeout(name)),
    }
}

fn body(plugin: &Plugin, registration: &Registration) -> serde_json::Value {
    let Registration {
        routes,
        middleware,
        provides_middleware,
        health,
        reload,
        config_from_changed,
        config_schema,
        conditions,
    } = registration;
    let mut status = json!({"conditions": conditions});
    // What is left out is given up.
    if !routes.is_empty() {
        status["routes"] = json!(routes);
    }
    if !middleware.is_empty() {
        status["middleware"] = json!(middleware);
    }
    if !provides_middleware.is_empty() {
        status["providesMiddleware"] = json!(provides_middleware);
    }
    if let Some(health) = health {
        status["health"] = json!(health);
    }
    if let Some(reload) = reload {
        status["reload"] = json!(reload);
    }
    if let Some(changed) = config_from_changed {
        status["configFromChanged"] = json!(changed);
    }
    if let Some(schema) = config_schema {
        status["configSchema"] = json!(schema);
    }
    json!({
        "apiVersion": Plugin::api_version(&()),
        "kind": Plugin::kind(&()),
        // With the uid, a plugin that was deleted and made anew is left alone.
        "metadata": {"name": plugin.name_any(), "uid": plugin.uid()},
        "status": status,
    })
}
