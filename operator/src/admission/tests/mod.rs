//! Reviews of all kinds, whatever is sent, the port under rotation, and the certificates' keeper.

mod certificates;
mod fuzz;
mod reviews;
mod rotation;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Reviewer;
use crate::{
    index::{Index, Object},
    metrics::Metrics,
    watch::Listed,
};

/// A plugin of the namespace `shop`.
fn plugin(name: &str, spec: Value) -> Value {
    let mut plugin = json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {"version": "1.0.0", "image": "example/plugin:1"},
    });
    plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    plugin
}

fn needs(name: &str, range: &str) -> Value {
    json!({"dependencies": [{"name": name, "version": range}]})
}

/// One who knows these plugins.
fn reviewer(known: &[Value]) -> Reviewer {
    let mut index = Index::default();
    for plugin in known {
        index.apply(Object::Plugin(Arc::new(serde_json::from_value(plugin.clone()).unwrap())));
    }
    let index = Arc::new(Mutex::new(index));
    Reviewer { index, listed: Listed::complete(), metrics: Arc::new(Metrics::new()) }
}

/// A review as the API server sends it.
fn review(operation: &str, object: Value, old: Value) -> Value {
    let name = if object.is_null() { &old } else { &object }["metadata"]["name"].clone();
    let gvk = json!({"group": "goforward.dev", "version": "v1alpha1", "kind": "Plugin"});
    let gvr = json!({"group": "goforward.dev", "version": "v1alpha1", "resource": "plugins"});
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": gvk, "resource": gvr,
            "requestKind": gvk, "requestResource": gvr, "name": name, "namespace": "shop",
            "operation": operation, "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": object, "oldObject": old, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
