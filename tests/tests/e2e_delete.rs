//! Down: dependents first, and no deletion hangs.

use anyhow::{Context, Result, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{TestNamespace, condition, in_state, plugin, run, seconds, started};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

/// Apply `a` <- `b` <- `c` and wait until they run.
async fn chain(ns: &TestNamespace) -> Result<()> {
    ns.apply(&plugin("a")).await?;
    ns.apply(&plugin("b").needs("a")).await?;
    ns.apply(&plugin("c").needs("b")).await?;
    for name in ["a", "b", "c"] {
        ns.await_plugin(name, "to be ready", seconds(90), started).await?;
    }
    Ok(())
}

fn is_held_by(plugin: &Plugin, dependent: &str) -> bool {
    let deleting = plugin.metadata.deletion_timestamp.is_some();
    deleting && condition(plugin, "Ready").is_some_and(|ready| ready.message.contains(dependent))
}

#[tokio::test]
async fn a_delete_in_the_wrong_order_is_held_and_then_done() {
    run("a_delete_in_the_wrong_order_is_held_and_then_done", async |ns| {
        chain(ns).await?;
        ns.delete_plugin("a").await?;
        ns.await_plugin("a", "to be held by b", seconds(30), |a| is_held_by(a, "b")).await?;
        let answer = ns.cluster.gateway()?.get(&ns.path("a")).await?;
        ensure!(answer.status == 200, "held, and yet it answers with {}", answer.status);
        ns.delete_plugin("b").await?;
        ns.await_plugin("b", "to be held by c", seconds(30), |b| is_held_by(b, "c")).await?;
        let mark = ns.cluster.audit()?.mark()?;
        ns.delete_plugin("c").await?;
        for name in ["c", "b", "a"] {
            ns.await_plugin_gone(name, seconds(60)).await?;
        }
        let writes = ns.cluster.audit()?.since(mark, &ns.name)?;
        let mut order: Vec<_> = writes
            .iter()
            .filter(|write| {
                write.verb == "delete" && write.on("deployments") && write.by_account("forward-operator")
            })
            .map(|write| write.object_ref.name.as_str())
            .collect();
        order.dedup();
        ensure!(order == ["c", "b", "a"], "{order:?}");
        nothing_is_left(ns).await
    })
    .await;
}

#[tokio::test]
async fn force_delete_overrides_the_hold() {
    run("force_delete_overrides_the_hold", async |ns| {
        chain(ns).await?;
        ns.delete_plugin("a").await?;
        ns.await_plugin("a", "to be held by b", seconds(30), |a| is_held_by(a, "b")).await?;
        let force = json!({"metadata": {"annotations": {"goforward.dev/force-delete": "true"}}});
        ns.patch_plugin("a", force).await?;
        ns.await_plugin_gone("a", seconds(60)).await?;
        let lost =
            |plugin: &Plugin| condition(plugin, "DependenciesReady").is_some_and(|c| c.status == "False");
        let b = ns.await_plugin("b", "to miss a", seconds(30), lost).await?;
        ensure!(in_state(PluginState::Started)(&b), "b goes on: {:?}", b.status);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn deleting_all_plugins_at_once_ends() {
    run("deleting_all_plugins_at_once_ends", async |ns| {
        chain(ns).await?;
        ns.apply(&plugin("waiting").needs("absent")).await?;
        ns.apply(&plugin("cycle-a").needs("cycle-b")).await?;
        ns.apply(&plugin("cycle-b").needs("cycle-a")).await?;
        ns.api::<Plugin>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        for name in ["a", "b", "c", "waiting", "cycle-a", "cycle-b"] {
            ns.await_plugin_gone(name, seconds(60)).await?;
        }
        nothing_is_left(ns).await
    })
    .await;
}

#[tokio::test]
async fn deleting_the_namespace_ends() {
    run("deleting_the_namespace_ends", async |ns| {
        chain(ns).await?;
        ns.delete().await?;
        ns.await_gone(seconds(200)).await
    })
    .await;
}

#[tokio::test]
async fn suspend_stops_and_disable_unloads_what_nobody_needs() {
    run("suspend_stops_and_disable_unloads_what_nobody_needs", async |ns| {
        ns.apply(&plugin("sleepy")).await?;
        ns.await_plugin("sleepy", "to be ready", seconds(60), started).await?;
        ns.patch_plugin("sleepy", json!({"spec": {"suspend": true}})).await?;
        ns.await_plugin("sleepy", "to stop", seconds(60), in_state(PluginState::Stopped)).await?;
        let answer = ns.cluster.gateway()?.await_status(&ns.path("sleepy"), 503, seconds(10)).await?;
        ensure!(answer.text().contains("sleepy"), "{}", answer.text());
        ns.patch_plugin("sleepy", json!({"spec": {"suspend": false, "enabled": false}})).await?;
        ns.await_plugin("sleepy", "to be unloaded", seconds(60), in_state(PluginState::Unloaded)).await?;
        ns.await_object::<Deployment>("sleepy", "to be gone", seconds(30), |d| d.is_none()).await?;
        ns.patch_plugin("sleepy", json!({"spec": {"enabled": true}})).await?;
        ns.await_plugin("sleepy", "to be ready again", seconds(60), started).await?;
        ns.cluster.gateway()?.await_status(&ns.path("sleepy"), 200, seconds(10)).await?;
        Ok(())
    })
    .await;
}

/// The garbage collector has taken everything that the operator made.
async fn nothing_is_left(ns: &TestNamespace) -> Result<()> {
    forward_tests::await_until("everything to be collected", seconds(60), async || {
        let ours = ListParams::default().labels("goforward.dev/plugin");
        let counts = [
            ns.api::<Deployment>().list(&ours).await?.items.len(),
            ns.api::<Service>().list(&ours).await?.items.len(),
            ns.api::<ServiceAccount>().list(&ours).await?.items.len(),
            ns.api::<ConfigMap>().list(&ours).await?.items.len(),
            ns.api::<NetworkPolicy>().list(&ours).await?.items.len(),
            ns.api::<PodDisruptionBudget>().list(&ours).await?.items.len(),
            ns.api::<Pod>().list(&ours).await?.items.len(),
        ];
        ensure!(counts.iter().sum::<usize>() == 0, "left: {counts:?}");
        Ok(())
    })
    .await
    .context("the plugins are gone")
}
