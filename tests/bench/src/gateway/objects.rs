//! Objects as the API server has them: plugins with routes, and the slices with their pods.

use std::{fmt, net::SocketAddr};

use forward_crds::PLUGIN_LABEL;
use serde_json::{Value, json};

/// The namespace of all of them.
const NAMESPACE: &str = "bench";
/// Routes of each plugin.
pub const ROUTES: usize = 10;

/// A kind that the gateway watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plugin,
    System,
    Slice,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Plugin, Self::System, Self::Slice];

    /// Group and version.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Plugin | Self::System => "goforward.dev/v1alpha1",
            Self::Slice => "discovery.k8s.io/v1",
        }
    }

    /// In an address.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Plugin => "plugins",
            Self::System => "pluginsystems",
            Self::Slice => "endpointslices",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin => "Plugin",
            Self::System => "PluginSystem",
            Self::Slice => "EndpointSlice",
        })
    }
}

/// The name of a plugin by its number.
pub fn name(number: usize) -> String {
    format!("plugin-{number}")
}

/// A plugin with [`ROUTES`] routes, half of them with a parameter, and this middleware.
pub fn plugin(number: usize, middleware: &Value) -> Value {
    let name = name(number);
    let routes = (0..ROUTES).map(|route| json!({"method": "GET", "path": pattern(number, route)}));
    object(
        Kind::Plugin,
        &name,
        json!({}),
        json!({
            "spec": {
                "version": "1.0.0",
                "image": "bench.example/plugin:1.0.0",
                "protocol": "Http",
                "http": {"routes": routes.collect::<Vec<_>>(), "middleware": middleware},
            },
            "status": {
                "observedGeneration": 1,
                "conditions": [{
                    "type": "Available", "status": "True", "reason": "Available", "message": "",
                    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        }),
    )
}

/// A plugin's slice with these pods.
pub fn slice(number: usize, pods: &[SocketAddr]) -> Value {
    let name = name(number);
    let endpoints = pods.iter().enumerate().map(|(index, pod)| {
        let pod_name = format!("{name}-{index}");
        json!({
            "addresses": [pod.ip().to_string()],
            "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": pod_name, "uid": format!("uid-{pod_name}")},
        })
    });
    let port = pods.first().map_or(8080, SocketAddr::port);
    object(
        Kind::Slice,
        &name,
        json!({PLUGIN_LABEL: name, "kubernetes.io/service-name": name}),
        json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": endpoints.collect::<Vec<_>>(),
        }),
    )
}

fn object(kind: Kind, name: &str, labels: Value, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": kind.group(),
        "kind": kind.to_string(),
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("uid-{kind}-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
        },
    });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

/// A route's pattern: every other one has a parameter.
pub fn pattern(number: usize, route: usize) -> String {
    match route % 2 {
        0 => format!("/{}/list-{route}", name(number)),
        _ => format!("/{}/items-{route}/:id", name(number)),
    }
}

/// A path for each route of so many plugins.
pub fn paths(plugins: usize) -> Vec<String> {
    let path = |number, route| pattern(number, route).replace(":id", &(number * ROUTES + route).to_string());
    // One plugin after the other, so that requests that follow each other are for different ones.
    (0..ROUTES).flat_map(|route| (0..plugins).map(move |number| path(number, route))).collect()
}
