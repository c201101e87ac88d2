//! Parts of the cluster fail in the middle of things. These tests disturb everything else, so
//! they stand alone in this file and go one after the other.

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    Load, SYSTEM_NAMESPACE, TestNamespace, await_until, plugin, run, seconds, started, xtask,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio::sync::Mutex;

/// One at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn leader(ns: &TestNamespace) -> Result<String> {
    let leases = Api::<Lease>::namespaced(ns.cluster.client.clone(), SYSTEM_NAMESPACE);
    let lease = leases.get("forward-operator").await?;
    lease.spec.and_then(|spec| spec.holder_identity).context("the lease has a holder")
}

fn system_pods(ns: &TestNamespace) -> Api<Pod> {
    Api::namespaced(ns.cluster.client.clone(), SYSTEM_NAMESPACE)
}

/// Without grace: as if the process had been killed.
fn at_once() -> DeleteParams {
    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
}

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
async fn an_operator_killed_in_mid_rollout_is_followed_by_the_other() {
    let _alone = ALONE.lock().await;
    run("an_operator_killed_in_mid_rollout_is_followed_by_the_other", async |ns| {
        apply_chain(ns, 5).await?;
        ns.await_plugin("link-1", "to be ready", seconds(60), started).await?;
        let killed = leader(ns).await?;
        system_pods(ns).delete(&killed, &at_once()).await?;
        await_chain(ns, 5).await?;
        ensure!(leader(ns).await? != killed, "the lease still names the dead one");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_operator_whose_process_is_killed_goes_on() {
    let _alone = ALONE.lock().await;
    run("an_operator_whose_process_is_killed_goes_on", async |ns| {
        apply_chain(ns, 5).await?;
        ns.await_plugin("link-1", "to be ready", seconds(60), started).await?;
        let killed = leader(ns).await?;
        let pod = system_pods(ns).get(&killed).await?;
        ensure!(kill_processes(&pod)? > 0, "no process of {killed} was found");
        await_until("the container to be started again", seconds(60), async || {
            let now = system_pods(ns).get(&killed).await?;
            ensure!(restarts_of(&now) > restarts_of(&pod), "it runs on");
            Ok(())
        })
        .await?;
        await_chain(ns, 5).await
    })
    .await;
}

/// End every process of a pod with SIGKILL, which none of them sees coming. The cluster runs on
/// this machine, so the pod's control groups name them.
fn kill_processes(pod: &Pod) -> Result<usize> {
    let uid = pod.metadata.uid.as_deref().context("a uid")?;
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let program = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if groups.contains(uid) && program.starts_with("forward-") {
            let pid = entry.file_name();
            killed += usize::from(std::process::Command::new("kill").arg("-9").arg(pid).status()?.success());
        }
    }
    Ok(killed)
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
    let pods = system_pods(ns).list(&ListParams::default()).await?;
    Ok(pods.items.iter().map(restarts_of).sum())
}

fn restarts_of(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).sum()
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
        let pods = system_pods(ns).list(&selector).await?;
        ensure!(pods.items.len() == 2, "{} gateways", pods.items.len());
        let load = Load::start(&gateway, &ns.path("served"), 500)?;
        let gone = pods.items.first().context("a gateway")?.name_any();
        system_pods(ns).delete(&gone, &DeleteParams::default()).await?;
        await_until("the gateway to be replaced", seconds(90), async || {
            let pods = system_pods(ns).list(&selector).await?;
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
        let pods = system_pods(ns).list(&selector).await?;
        let killed = pods.items.first().context("a gateway")?.name_any();
        system_pods(ns).delete(&killed, &at_once()).await?;
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
