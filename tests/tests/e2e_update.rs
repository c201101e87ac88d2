//! Over: an update costs no request, and a broken one leaves the old version serving.

use anyhow::{Context, Result, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{Load, TestNamespace, condition, in_state, plugin, run, seconds, started};
use serde_json::Value;

/// Requests a second.
const RATE: u32 = 500;

/// The version that the gateway's answer names.
async fn served_version(ns: &TestNamespace, name: &str) -> Result<String> {
    let body: Value = ns.cluster.gateway()?.get(&ns.path(name)).await?.json()?;
    Ok(body["version"].as_str().context("a version")?.to_owned())
}

#[tokio::test]
async fn a_good_update_costs_no_request_and_a_broken_one_leaves_the_old_version_serving() {
    run("a_good_update_costs_no_request_and_a_broken_one", async |ns| {
        let served = || plugin("served").replicas(2);
        ns.apply(&served()).await?;
        ns.await_plugin("served", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("served"), 200, seconds(10)).await?;
        let load = Load::start(&gateway, &ns.path("served"), RATE)?;

        ns.apply(&served().version("1.1.0").image("forward.local/testbed:1.1.0")).await?;
        let updated = |plugin: &Plugin| started(plugin) && version(plugin) == Some("1.1.0");
        ns.await_plugin("served", "to be updated", seconds(90), updated).await?;
        ensure!(served_version(ns, "served").await? == "1.1.0");

        ns.apply(&served().version("2.0.0").config("failInitialize", "broken release")).await?;
        let explained = |plugin: &Plugin| {
            condition(plugin, "Ready").is_some_and(|ready| ready.message.contains("broken release"))
        };
        let broken = ns.await_plugin("served", "to say what is broken", seconds(90), explained).await?;
        ensure!(
            in_state(PluginState::Started)(&broken) && version(&broken) == Some("1.1.0"),
            "{:?}",
            broken.status
        );
        let stalled = |plugin: &Plugin| condition(plugin, "Stalled").is_some_and(|c| c.status == "True");
        ns.await_plugin("served", "to be stalled", seconds(120), stalled).await?;
        ensure!(served_version(ns, "served").await? == "1.1.0");

        ns.apply(&served().version("1.1.0").image("forward.local/testbed:1.1.0")).await?;
        ns.await_plugin("served", "to be ready again", seconds(60), updated).await?;
        load.stop().await?.check(RATE)
    })
    .await;
}

fn version(plugin: &Plugin) -> Option<&str> {
    plugin.status.as_ref()?.version.as_deref()
}

#[tokio::test]
async fn a_change_of_configuration_costs_no_request() {
    run("a_change_of_configuration_costs_no_request", async |ns| {
        ns.apply(&plugin("tuned").config("note", "1")).await?;
        ns.await_plugin("tuned", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("tuned"), 200, seconds(10)).await?;
        let load = Load::start(&gateway, &ns.path("tuned"), RATE)?;
        ns.apply(&plugin("tuned").config("note", "2")).await?;
        ns.await_plugin("tuned", "to be ready again", seconds(60), started).await?;
        let body: Value = gateway.get(&ns.path("tuned")).await?.json()?;
        ensure!(body["note"] == "2", "{body}");
        load.stop().await?.check(RATE)
    })
    .await;
}

#[tokio::test]
async fn a_version_that_dependents_refuse_is_held_and_the_old_one_serves() {
    run("a_version_that_dependents_refuse_is_held", async |ns| {
        ns.apply(&plugin("stock")).await?;
        ns.apply(&plugin("shop").needs_version("stock", "^1.0")).await?;
        ns.await_plugin("shop", "to be ready", seconds(60), started).await?;
        ns.apply(&plugin("stock").version("2.0.0").image("forward.local/testbed:2.0.0")).await?;
        let held = |plugin: &Plugin| {
            condition(plugin, "Ready").is_some_and(|c| c.status == "False" && c.message.contains("shop"))
        };
        let stock = ns.await_plugin("stock", "to be held by shop", seconds(30), held).await?;
        ensure!(
            in_state(PluginState::Started)(&stock) && version(&stock) == Some("1.0.0"),
            "{:?}",
            stock.status
        );
        ensure!(served_version(ns, "stock").await? == "1.0.0");
        ns.apply(&plugin("shop").needs_version("stock", ">=1.0")).await?;
        let updated = |plugin: &Plugin| started(plugin) && version(plugin) == Some("2.0.0");
        ns.await_plugin("stock", "to be updated", seconds(60), updated).await?;
        ns.await_plugin("shop", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn scaling_and_losing_a_pod_costs_no_request() {
    run("scaling_and_losing_a_pod_costs_no_request", async |ns| {
        ns.apply(&plugin("wide").replicas(2)).await?;
        ns.await_plugin("wide", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("wide"), 200, seconds(10)).await?;
        let load = Load::start(&gateway, &ns.path("wide"), RATE)?;
        let scale = serde_json::json!({"spec": {"replicas": 3}});
        ns.api::<Plugin>()
            .patch_scale("wide", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(scale))
            .await?;
        let wide = |count| {
            move |plugin: &Plugin| {
                started(plugin)
                    && plugin.status.as_ref().and_then(|status| status.ready_replicas) == Some(count)
            }
        };
        ns.await_plugin("wide", "to have three pods", seconds(60), wide(3)).await?;
        ns.api::<Plugin>()
            .patch_scale(
                "wide",
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(serde_json::json!({"spec": {"replicas": 1}})),
            )
            .await?;
        ns.await_plugin("wide", "to have one pod", seconds(60), wide(1)).await?;
        load.stop().await?.check(RATE)
    })
    .await;
}
