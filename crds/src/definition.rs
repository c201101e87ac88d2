//! The definitions of the kinds, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{Plugin, PluginSystem};

/// The CustomResourceDefinitions of both kinds.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    let mut plugin = Plugin::crd();
    for version in &mut plugin.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            mark_unobserved(schema);
        }
    }
    [plugin, PluginSystem::crd()]
}

/// A plugin that no operator has looked at says so: by the rules of kstatus an object without
/// `observedGeneration` and conditions counts as ready.
fn mark_unobserved(schema: &mut JSONSchemaProps) {
    let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
    status.expect("a plugin has a status").default = Some(JSON(json!({"observedGeneration": -1})));
}
