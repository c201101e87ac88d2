//! Parts of the cluster fail in the middle of things. These tests disturb everything else, so
//! they stand alone in this file and go one after the other.

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    Load, TestNamespace, at_once, await_until, plugin, restarts_of, run, seconds, started, xtask,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio::sync::Mutex;

/// One at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn apply_chain(ns: &TestNamespace, length: usize) -> Result<()> {
    for number in 0..length {
        let link = plugin(&format!("link-{number}")).config("initializeDelay", "1s");
        let link = if number == 0 { link } else { link.needs(&format!("link-{}", number - 1)) };
        ns.apply(&link).await?;
    }
    Ok(())
}

async fn await_chain(ns: &TestNamespace, length: usize) -> Result<()> {
    for number in 0..length {
        ns.await_plugin(&format!("link-{number}"), "to be ready", seconds(120), started).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_api_server_is_outlived() {
    let _alone = ALONE.lock().await;
    run("a_restart_of_the_api_server_is_outlived", async |ns| {
        ns.apply(&plugin("served")).await?;
        ns.await_plugin("served", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("served"), 200, seconds(10)).await?;
        let before = restarts(ns).await?;
        let load = Load::start(&gateway, &ns.path("served"), 200)?;
        apply_chain(ns, 4).await?;
        let cluster = std::env::var("FORWARD_CLUSTER").context("FORWARD_CLUSTER names the cluster")?;
        xtask(&["cluster", "--name", &cluster, "restart-component", "kube-apiserver"]).await?;
        await_until("the API server to answer", seconds(60), async || Ok(ns.plugin("served").await?)).await?;
        await_chain(ns, 4).await?;
        load.stop().await?.check(200)?;
        ensure!(restarts(ns).await? == before, "operator or gateway were restarted");
        Ok(())
    })
    .await;
}

/// How often containers of the operator and the gateway were restarted.
async fn restarts(ns: &TestNamespace) -> Result<i32> {
    let pods = ns.cluster.system_pods().list(&ListParams::default()).await?;
    Ok(pods.items.iter().map(restarts_of).sum())
}

#[tokio::test]
async fn one_of_two_gateways_goes_under_load_without_a_failed_request() {
    let _alone = ALONE.lock().await;
    run("one_of_two_gateways_goes_under_load_without_a_failed_request", async |ns| {
        ns.apply(&plugin("served").replicas(2)).await?;
        ns.await_plugin("served", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("served"), 200, seconds(10)).await?;
        let selector = ListParams::default().labels("app.kubernetes.io/component=gateway");
        let pods = ns.cluster.system_pods().list(&selector).await?;
        ensure!(pods.items.len() == 2, "{} gateways", pods.items.len());
        let load = Load::start(&gateway, &ns.path("served"), 500)?;
        let gone = pods.items.first().context("a gateway")?.name_any();
        ns.cluster.system_pods().delete(&gone, &DeleteParams::default()).await?;
        await_until("the gateway to be replaced", seconds(90), async || {
            let pods = ns.cluster.system_pods().list(&selector).await?;
            let ready = pods.items.iter().filter(|pod| pod.name_any() != gone && is_ready(pod)).count();
            ensure!(ready == 2 && pods.items.len() == 2, "{ready} of {} are ready", pods.items.len());
            Ok(())
        })
        .await?;
        load.stop().await?.check(500)
    })
    .await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

#[tokio::test]
async fn a_killed_gateway_costs_no_more_than_what_it_was_carrying() {
    let _alone = ALONE.lock().await;
    run("a_killed_gateway_costs_no_more_than_what_it_was_carrying", async |ns| {
        ns.apply(&plugin("served")).await?;
        ns.await_plugin("served", "to be ready", seconds(60), started).await?;
        let selector = ListParams::default().labels("app.kubernetes.io/component=gateway");
        let pods = ns.cluster.system_pods().list(&selector).await?;
        let killed = pods.items.first().context("a gateway")?.name_any();
        ns.cluster.system_pods().delete(&killed, &at_once()).await?;
        // The other one serves, and takes over what the dead one described and polled.
        ns.cluster.gateway()?.await_status(&ns.path("served"), 200, seconds(20)).await?;
        ns.apply(&plugin("later")).await?;
        ns.await_plugin("later", "to be registered by whoever is left", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pods_that_vanish_come_back() {
    let _alone = ALONE.lock().await;
    run("pods_that_vanish_come_back", async |ns| {
        ns.apply(&plugin("lost")).await?;
        ns.await_plugin("lost", "to be ready", seconds(60), started).await?;
        let ours = ListParams::default().labels("goforward.dev/plugin=lost");
        ns.api::<Pod>().delete_collection(&at_once(), &ours).await?;
        let unready = |plugin: &Plugin| !started(plugin);
        ns.await_plugin("lost", "to notice", seconds(30), unready).await?;
        ns.await_plugin("lost", "to be ready again", seconds(60), started).await?;
        Ok(())
    })
    .await;
}
