//! What several writers of one Plugin may do without undoing each other's work, and what tools
//! find that know nothing of Plugins.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{TestNamespace, plugin, run};
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

fn manifest(spec: Value) -> Value {
    json!({
        "apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": "shared"}, "spec": spec,
    })
}

async fn apply_status(ns: &TestNamespace, manager: &str, status: Value) -> Result<Plugin> {
    let body = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": "shared"}, "status": status});
    let params = PatchParams::apply(manager).force();
    ns.api::<Plugin>().patch_status("shared", &params, &Patch::Apply(&body)).await.context("apply status")
}

fn condition(type_: &str, status: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Test", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// The values of a field in a list of objects.
fn keys(list: &Value, field: &str) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn merges_dependencies_and_routes_of_two_appliers() {
    run("merges_dependencies_and_routes", async |ns| {
        let base = json!({"version": "1.0.0", "image": "a", "suspend": true});
        let with = |extra: Value| {
            let mut spec = base.clone();
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            manifest(spec)
        };
        let first = with(json!({
            "dependencies": [{"name": "one"}],
            "http": {"routes": [{"path": "/one"}, {"path": "/both", "method": "GET"}]},
            "configFrom": [{"path": "/one", "secretKeyRef": {"name": "s", "key": "k"}}],
        }));
        let second = with(json!({
            "dependencies": [{"name": "two"}],
            "http": {"routes": [{"path": "/both", "method": "POST"}]},
            "configFrom": [{"path": "/two", "secretKeyRef": {"name": "s", "key": "k"}}],
        }));
        ns.apply_as("first", &first).await?;
        let merged = ns.apply_as("second", &second).await?.data["spec"].take();
        assert_eq!(keys(&merged["dependencies"], "name"), ["one", "two"].map(str::to_owned).into());
        assert_eq!(keys(&merged["configFrom"], "path"), ["/one", "/two"].map(str::to_owned).into());
        assert_eq!(merged["http"]["routes"].as_array().map(Vec::len), Some(3), "{merged}");

        let left = ns.apply_as("first", &with(json!({}))).await?.data["spec"].take();
        assert_eq!(keys(&left["dependencies"], "name"), ["two".to_owned()].into(), "each takes away its own");
        assert_eq!(left["http"]["routes"].as_array().map(Vec::len), Some(1), "{left}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn merges_status_of_operator_and_gateway() {
    run("merges_status", async |ns| {
        ns.apply_as("user", &manifest(json!({"version": "1.0.0", "image": "a", "suspend": true}))).await?;
        // Names of nobody, so that neither program takes the fields as its own.
        let route = json!({"method": "GET", "path": "/a", "source": "Manifest", "active": true});
        let health = json!({"status": "Healthy", "timestamp": "2026-01-01T00:00:00Z"});
        apply_status(ns, "test-operator", json!({"conditions": [condition("FromOperator", "True")]})).await?;
        let written = apply_status(
            ns,
            "test-gateway",
            json!({"conditions": [condition("FromGateway", "False")], "routes": [route], "health": health}),
        )
        .await?;
        let status = serde_json::to_value(written.status.context("status")?)?;
        let types = keys(&status["conditions"], "type");
        assert!(types.contains("FromOperator") && types.contains("FromGateway"), "{status}");

        let after = apply_status(ns, "test-gateway", json!({"conditions": []})).await?;
        let status = serde_json::to_value(after.status.context("status")?)?;
        let types = keys(&status["conditions"], "type");
        assert!(types.contains("FromOperator") && !types.contains("FromGateway"), "{status}");
        assert!(status.get("health").is_none(), "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn scales_as_a_deployment_does() {
    run("scales", async |ns| {
        ns.apply(&plugin("scaled").set("suspend", true)).await?;
        let api = ns.api::<Plugin>();
        let patch = json!({"spec": {"replicas": 3}});
        api.patch_scale("scaled", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let scale: Scale = serde_json::from_value(serde_json::to_value(api.get_scale("scaled").await?)?)?;
        assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
        assert_eq!(ns.plugin("scaled").await?.spec.replicas, 3);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn selects_plugins_by_version() {
    run("selects_by_version", async |ns| {
        ns.apply(&plugin("old").set("suspend", true)).await?;
        ns.apply(&plugin("new").version("2.0.0").set("suspend", true)).await?;
        let found = ns.api::<Plugin>().list(&ListParams::default().fields("spec.version=2.0.0")).await?.items;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].metadata.name.as_deref(), Some("new"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn explains_every_part_to_kubectl() {
    run("explains", async |_| {
        for (path, expected) in [
            ("plugin", "A plugin: a container that adds routes to the application."),
            ("plugin.spec.dependencies", "Plugins of the same namespace that this one needs."),
            ("plugin.spec.http.routes.path", "`:name` for one segment"),
            ("plugin.status.conditions", "Ready is the summary"),
            ("pluginsystem.spec", "maxConcurrentRollouts"),
            ("plg.spec.sandbox", "filesystem"),
        ] {
            let output = Command::new("kubectl").args(["explain", path]).output().context("run kubectl")?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
            ensure!(text.contains(expected), "{path} does not say {expected:?}: {text}");
        }
        Ok(())
    })
    .await;
}
