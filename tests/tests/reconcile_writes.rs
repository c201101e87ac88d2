//! The operator writes what differs, and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forward_tests::{Entry, TestNamespace, plugin, run, seconds, started};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

/// Writes of the operator and the gateway.
fn ours(entries: Vec<Entry>) -> Vec<String> {
    entries
        .into_iter()
        .filter(|entry| entry.by_account("forward-operator") || entry.by_account("forward-gateway"))
        .map(|entry| {
            format!(
                "{} {}/{} {}",
                entry.verb, entry.object_ref.resource, entry.object_ref.subresource, entry.object_ref.name
            )
        })
        .collect()
}

#[tokio::test]
async fn a_plugin_that_runs_costs_no_write() {
    run("a_plugin_that_runs_costs_no_write", async |ns| {
        ns.apply(&plugin("quiet").set("health", json!({"interval": "1s"}))).await?;
        ns.await_plugin("quiet", "to be ready", seconds(60), started).await?;
        settle(ns).await?;
        let mark = ns.cluster.audit()?.mark()?;
        // Several polls of its health, and a touch that changes nothing.
        ns.patch_plugin("quiet", json!({"metadata": {"annotations": {"example.com/touched": "yes"}}}))
            .await?;
        tokio::time::timeout(Duration::from_secs(6), std::future::pending::<()>()).await.ok();
        let writes = ours(ns.cluster.audit()?.since(mark, &ns.name)?);
        ensure!(writes.is_empty(), "{writes:#?}");
        Ok(())
    })
    .await;
}

/// Wait until two looks at the audit log, a second apart, see the same.
async fn settle(ns: &TestNamespace) -> Result<()> {
    let start = ns.cluster.audit()?.mark()?;
    let mut last = usize::MAX;
    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    for _ in 0..20 {
        ticks.tick().await;
        let now = ours(ns.cluster.audit()?.since(start, &ns.name)?).len();
        if now == last {
            return Ok(());
        }
        last = now;
    }
    anyhow::bail!("the operator keeps writing: {:#?}", ours(ns.cluster.audit()?.since(start, &ns.name)?))
}

#[tokio::test]
async fn what_others_change_or_delete_is_put_right() {
    run("what_others_change_or_delete_is_put_right", async |ns| {
        ns.apply(&plugin("kept")).await?;
        ns.await_plugin("kept", "to be ready", seconds(60), started).await?;
        let replicas = json!({"spec": {"replicas": 4}});
        ns.api::<Deployment>().patch("kept", &PatchParams::default(), &Patch::Merge(replicas)).await?;
        ns.await_object::<Deployment>("kept", "to have one replica again", seconds(30), |deployment| {
            deployment.and_then(|d| d.spec.as_ref()).is_some_and(|spec| spec.replicas == Some(1))
        })
        .await?;
        let service = ns.api::<Service>().get("kept").await?.metadata.uid;
        ns.api::<Service>().delete("kept", &DeleteParams::default()).await?;
        ns.await_object::<Service>("kept", "to be made again", seconds(30), |found| {
            found.is_some_and(|found| found.metadata.uid != service)
        })
        .await?;
        ns.await_plugin("kept", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_comes_up_with_few_writes() {
    run("a_plugin_comes_up_with_few_writes", async |ns| {
        let mark = ns.cluster.audit()?.mark()?;
        ns.apply(&plugin("counted")).await?;
        ns.await_plugin("counted", "to be ready", seconds(60), started).await?;
        settle(ns).await?;
        let writes = ours(ns.cluster.audit()?.since(mark, &ns.name)?);
        let objects = writes.iter().filter(|write| !write.contains("plugins/")).count();
        let finalizers = writes.iter().filter(|write| write.contains("plugins/ ")).count();
        // ServiceAccount, ConfigMap, Service, NetworkPolicy, Deployment, and an event for each change
        // of state.
        ensure!(finalizers == 1, "{writes:#?}");
        ensure!(objects <= 13, "{writes:#?}");
        // The states on the way, Available and Ready, and the gateway's part; what only words and counts
        // change comes along with these.
        let statuses = writes.iter().filter(|write| write.contains("plugins/status")).count();
        ensure!(statuses <= 10, "{writes:#?}");
        ensure!(writes.len() <= 20, "{} writes: {writes:#?}", writes.len());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn configurations_that_nobody_uses_are_removed() {
    run("configurations_that_nobody_uses_are_removed", async |ns| {
        let configured = |n: i32| plugin("configured").config("note", n.to_string());
        ns.apply(&configured(1)).await?;
        ns.await_plugin("configured", "to be ready", seconds(60), started).await?;
        let mine = ListParams::default().labels("goforward.dev/plugin=configured");
        let first = ns.api::<ConfigMap>().list(&mine).await?.items.pop().context("a configuration")?;
        ns.apply(&configured(2)).await?;
        ns.await_plugin("configured", "to be ready again", seconds(60), started).await?;
        let name = first.metadata.name.context("a name")?;
        ns.await_object::<ConfigMap>(&name, "to be gone", seconds(30), |found| found.is_none()).await?;
        ensure!(ns.api::<ConfigMap>().list(&mine).await?.items.len() == 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn defaults_of_the_namespace_reach_its_plugins() {
    run("defaults_of_the_namespace_reach_its_plugins", async |ns| {
        let system = |memory: &str| {
            json!({
                "apiVersion": "goforward.dev/v1alpha1",
                "kind": "PluginSystem",
                "metadata": {"name": "default"},
                "spec": {"timeout": "7s", "sandbox": {"memory": memory, "cpu": "150m"}},
            })
        };
        ns.apply_as("forward-tests", &system("40Mi")).await?;
        ns.apply(&plugin("modest").set("sandbox", json!({}))).await?;
        ns.await_plugin("modest", "to be ready", seconds(60), started).await?;
        ensure!(memory_limit(ns).await? == ("40Mi".to_owned(), Some("7s".to_owned())));
        ns.apply_as("forward-tests", &system("44Mi")).await?;
        forward_tests::await_until("the new default", seconds(30), async || {
            let (memory, _) = memory_limit(ns).await?;
            ensure!(memory == "44Mi", "{memory}");
            Ok(())
        })
        .await?;
        ns.await_plugin("modest", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

/// The memory limit and the timeout in the Deployment of `modest`.
async fn memory_limit(ns: &TestNamespace) -> Result<(String, Option<String>)> {
    let deployment = ns.api::<Deployment>().get("modest").await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("a pod template")?;
    let container = pod.containers.into_iter().next().context("a container")?;
    let timeout =
        container.env.unwrap_or_default().into_iter().find(|variable| variable.name == "GOFORWARD_TIMEOUT");
    let limits = container.resources.and_then(|resources| resources.limits).context("limits")?;
    Ok((limits["memory"].0.clone(), timeout.and_then(|variable| variable.value)))
}
