//! The plugins that are measured with.

use serde_json::{Value, json};

/// What plugins accept of each other.
pub const RANGE: &str = "^1.0";

/// So many plugins in layers; each needs two of the layer before.
pub fn graph(count: usize, depth: usize) -> Vec<Value> {
    let width = count.div_ceil(depth);
    (0..count).map(|number| plugin(number, &needs(number, width), RANGE)).collect()
}

/// What a plugin needs in layers of this width.
pub fn needs(number: usize, width: usize) -> Vec<usize> {
    let (layer, place) = (number / width, number % width);
    let before = |place: usize| (layer - 1) * width + place % width;
    if layer == 0 { Vec::new() } else { vec![before(place), before(place + 1)] }
}

/// So many plugins, each of which needs the one before.
pub fn chain(length: usize) -> Vec<Value> {
    let needs = |number: usize| number.checked_sub(1).into_iter().collect::<Vec<_>>();
    (0..length).map(|number| plugin(number, &needs(number), RANGE)).collect()
}

pub fn name(number: usize) -> String {
    format!("plugin-{number:05}")
}

/// That of the plugin by whose name another name begins.
pub fn number(name: &str) -> Option<usize> {
    name.strip_prefix("plugin-")?.get(..5)?.parse().ok()
}

/// About what a plugin of an application says of itself; `range` is that of all its dependencies.
pub fn plugin(number: usize, needs: &[usize], range: &str) -> Value {
    let name = name(number);
    let mut needs = needs.to_vec();
    needs.dedup();
    let needs: Vec<_> =
        needs.iter().map(|need| json!({"name": self::name(*need), "version": range})).collect();
    json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "bench"}},
        "spec": {
            "version": "1.2.0",
            "image": format!("registry.example/{name}:1.2.0"),
            "info": {"description": "A plugin that is measured with", "author": "Forward"},
            "dependencies": needs,
            "config": {"currency": "USD", "limits": {"amount": 5000, "items": 20}, "note": name},
            "http": {
                "routes": [
                    {"method": "GET", "path": format!("/{name}/items")},
                    {"method": "POST", "path": format!("/{name}/items/:id")},
                ],
            },
            "sandbox": {"memory": "64Mi", "cpu": "100m"},
        },
    })
}
