//! What must hold for every field of the generated CRDs.

use forward_crds::{Plugin, PluginSystem};
use kube::CustomResourceExt;
use serde_json::Value;

/// Fields of a schema without a description, by path. Types of Kubernetes itself are left out:
/// their documentation is not ours.
fn undocumented(schema: &Value, path: &str, found: &mut Vec<String>) {
    if schema["description"].is_null() && !path.ends_with("[]") {
        found.push(path.to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let foreign =
            ["affinity", "tolerations", "topologySpreadConstraints", "env"].contains(&name.as_str());
        if !foreign {
            undocumented(field, &format!("{path}.{name}"), found);
        }
    }
    if schema["items"].is_object() {
        undocumented(&schema["items"], &format!("{path}[]"), found);
    }
}

#[test]
fn documents_every_field() {
    for crd in [Plugin::crd(), PluginSystem::crd()] {
        let kind = crd.spec.names.kind.clone();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut found = Vec::new();
        undocumented(&schema["openAPIV3Schema"], &kind, &mut found);
        assert!(found.is_empty(), "no description: {found:?}");
    }
}

#[test]
fn reads_quantities_that_are_numbers() {
    let sandbox: forward_crds::Sandbox =
        serde_json::from_str(r#"{"memory": 268435456, "cpu": 1, "filesystem": "ReadOnly"}"#).unwrap();
    assert_eq!(sandbox.memory.unwrap().0, "268435456");
    assert_eq!(sandbox.cpu.unwrap().0, "1");
}
