//! Schemas for what Rust types cannot say to Kubernetes.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any JSON object, kept as it is.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
