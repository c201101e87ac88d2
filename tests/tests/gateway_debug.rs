//! What the gateway's `/debug` tells of a plugin that runs, through a forwarded port.

use std::{net::TcpListener, process::Stdio};

use anyhow::{Context, Result, ensure};
use forward_tests::{Cluster, Gateway, SYSTEM_NAMESPACE, await_until, plugin, run, seconds, started};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A forwarded port of a pod, as long as this lives.
struct Forwarded {
    debug: Gateway,
    _kubectl: Child,
}

async fn pods(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let label = "app.kubernetes.io/name=goforward,app.kubernetes.io/component=gateway";
    Ok(pods.list(&ListParams::default().labels(label)).await?.iter().map(ResourceExt::name_any).collect())
}

impl Forwarded {
    async fn to(pod: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let kubectl = Command::new("kubectl")
            .args([
                "--namespace",
                SYSTEM_NAMESPACE,
                "port-forward",
                &format!("pod/{pod}"),
                &format!("{port}:9091"),
            ])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("run kubectl")?;
        let debug = Gateway::new(&format!("http://127.0.0.1:{port}"))?;
        debug.await_status("/debug/plugins", 200, seconds(20)).await?;
        Ok(Self { debug, _kubectl: kubectl })
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.debug.get(path).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
        answer.json()
    }
}

#[tokio::test]
async fn explains_requests_and_profiles_a_plugin_that_runs() {
    run("explains_requests_and_profiles_a_plugin", async |ns| {
        ns.apply(&plugin("watched")).await?;
        ns.await_plugin("watched", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        let path = ns.path("watched");
        gateway.await_status(&path, 200, seconds(20)).await?;
        for _ in 0..20 {
            ensure!(gateway.get(&path).await?.status == 200, "a plugin that is ready answers");
        }
        let name = format!("{}/watched", ns.name);
        let mut replicas = Vec::new();
        for pod in pods(&ns.cluster).await? {
            replicas.push(Forwarded::to(&pod).await?);
        }
        for replica in &replicas {
            let told = replica.get(&format!("/debug/explain?path={path}")).await?;
            ensure!(told["plugin"] == name.as_str() && told["status"].is_null(), "{told}");
            ensure!(told["endpoints"].as_array().is_some_and(|pods| pods.len() == 1), "{told}");
            let nobody = replica.get(&format!("/debug/explain?path={path}/no/such/path&method=BREW")).await?;
            ensure!(nobody["plugin"].is_null() && nobody["status"] == 404, "{nobody}");
        }
        let profile = format!("/debug/plugins/{name}");
        await_until("requests and the process in the profiles", seconds(40), async || {
            // What came before the plugin was first looked at is in no window.
            ensure!(gateway.get(&path).await?.status == 200, "a plugin that is ready answers");
            let (mut requests, mut processes) = (0, Vec::new());
            for replica in &replicas {
                let told = replica.get(&profile).await?;
                requests += told["windows"][1]["requests"].as_u64().context("requests")?;
                processes.extend(told["processes"].as_array().context("processes")?.clone());
            }
            ensure!(requests >= 1, "no request is in any window");
            ensure!(processes.len() == 1, "one replica asks the plugin: {processes:?}");
            let memory = processes[0]["memoryBytes"].as_f64().context("memory")?;
            ensure!(memory > 1e5 && processes[0]["started"].is_string(), "{processes:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_process_says_of_itself_is_in_the_metrics_and_not_in_the_status() {
    run("a_process_is_in_the_metrics_and_not_in_the_status", async |ns| {
        ns.apply(&plugin("measured")).await?;
        ns.await_plugin("measured", "to be ready", seconds(60), started).await?;
        let begin = format!("forward_gateway_plugin_memory_bytes{{plugin=\"{}/measured\",pod=", ns.name);
        await_until("the memory of the process", seconds(40), async || {
            let mut lines = Vec::new();
            for pod in pods(&ns.cluster).await? {
                let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:9090/proxy/metrics");
                let text = ns.cluster.client.request_text(Request::get(path).body(Vec::new())?).await?;
                lines.extend(text.lines().filter(|line| line.starts_with(&begin)).map(str::to_owned));
            }
            ensure!(lines.len() == 1, "{lines:?}");
            Ok(())
        })
        .await?;
        let seen = ns.await_plugin("measured", "to be ready still", seconds(10), started).await?;
        let health = seen.status.and_then(|status| status.health).context("health")?;
        ensure!(!health.details.keys().any(|name| name.starts_with("process.")), "{health:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_in_the_cluster_reaches_debug() {
    run("nothing_in_the_cluster_reaches_debug", async |ns| {
        let pods = pods(&ns.cluster).await?;
        ensure!(!pods.is_empty(), "there is no gateway to ask");
        for pod in pods {
            let ask = async |path: &str| {
                let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:{path}");
                let asked = ns.cluster.client.request_text(Request::get(path).body(Vec::new())?);
                // Whether the API server gives up by itself is not of interest.
                Ok(timeout(seconds(10), asked).await??)
            };
            ask("9090/proxy/metrics").await.context("the same way to what is open")?;
            let answer: Result<String> = ask("9091/proxy/debug/config").await;
            ensure!(answer.is_err(), "the pod's own address answers: {answer:?}");
        }
        Ok(())
    })
    .await;
}
