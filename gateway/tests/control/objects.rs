//! Objects as the API server has them.

use std::sync::Arc;

use forward_crds::{Plugin, PluginSystem};
use forward_gateway::control::index::Object;
use serde_json::{Value, json};

/// A plugin of namespace `shop` at generation 1, rolled out.
pub fn plugin(name: &str, spec: Value, status: Value) -> Plugin {
    let mut full = json!({"version": "1.0.0", "image": "x"});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut object: Plugin = serde_json::from_value(json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": format!("uid-{name}"),
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": full,
        "status": status,
    }))
    .unwrap();
    rolled_out(&mut object, 1);
    object
}

/// Let the operator say that a generation is rolled out.
pub fn rolled_out(plugin: &mut Plugin, generation: i64) {
    plugin.metadata.generation = Some(generation);
    let status = plugin.status.get_or_insert_default();
    status.observed_generation = Some(generation);
    status.conditions.retain(|condition| condition.type_ != "Available");
    let available = json!({
        "type": "Available", "status": "True", "reason": "Available", "message": "",
        "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    status.conditions.push(serde_json::from_value(available).unwrap());
}

pub fn route(text: &str) -> Value {
    let (method, rest) = text.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    json!({"host": host, "method": method, "path": path})
}

/// A spec with these routes.
pub fn routes(list: &[&str]) -> Value {
    json!({"http": {"routes": list.iter().map(|text| route(text)).collect::<Vec<_>>()}})
}

/// A status in which these routes have been announced.
pub fn announced(list: &[&str]) -> Value {
    let routes = list.iter().map(|text| {
        let mut route = route(text);
        route
            .as_object_mut()
            .unwrap()
            .extend([("source".into(), json!("Plugin")), ("active".into(), json!(true))]);
        route
    });
    json!({"routes": routes.collect::<Vec<_>>()})
}

pub fn system(namespace: &str, name: &str, hosts: &[&str]) -> PluginSystem {
    serde_json::from_value(json!({
        "apiVersion": "goforward.dev/v1alpha1", "kind": "PluginSystem",
        "metadata": {"namespace": namespace, "name": name}, "spec": {"hosts": hosts},
    }))
    .unwrap()
}

/// A slice of a plugin's Service with pods as `name` or `!name` (not ready), at 10.0.0.n.
pub fn slice(plugin: &str, pods: &[&str]) -> Object {
    slice_of(plugin, plugin, pods)
}

/// A slice of any Service that carries a plugin's label.
pub fn slice_of(service: &str, plugin: &str, pods: &[&str]) -> Object {
    let mut slice = endpoint_slice(service, pods);
    slice
        .metadata
        .labels
        .get_or_insert_default()
        .insert("goforward.dev/plugin".to_owned(), plugin.to_owned());
    Object::Slice(Arc::new(slice))
}

/// A slice of the gateway's own Service.
pub fn own(pods: &[&str]) -> Object {
    Object::Own(Arc::new(endpoint_slice("forward-gateway", pods)))
}

fn endpoint_slice(service: &str, pods: &[&str]) -> k8s_openapi::api::discovery::v1::EndpointSlice {
    let endpoints = pods.iter().enumerate().map(|(n, pod)| {
        let name = pod.trim_start_matches('!');
        json!({
            "addresses": [format!("10.0.0.{n}")],
            "conditions": {"ready": name == *pod},
            "targetRef": {"kind": "Pod", "name": name, "uid": format!("uid-{name}")},
        })
    });
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": format!("{service}-abc"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    }))
    .unwrap()
}
