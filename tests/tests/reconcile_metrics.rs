//! What Prometheus reads of the programs that run.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use forward_tests::{Cluster, SYSTEM_NAMESPACE, await_until, plugin, run, seconds, started};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};

use crate::metrics_page::{Row, rows, told};

#[path = "../src/metrics_page.rs"]
mod metrics_page;

/// What each pod of a program tells, as Prometheus would read it.
async fn scrape(cluster: &Cluster, component: &str, port: u16) -> Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let label = format!("app.kubernetes.io/name=goforward,app.kubernetes.io/component={component}");
    let mut texts = Vec::new();
    for pod in pods.list(&ListParams::default().labels(&label)).await? {
        let path =
            format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{}:{port}/proxy/metrics", pod.name_any());
        let request = Request::get(path).body(Vec::new())?;
        texts.push(cluster.client.request_text(request).await.with_context(|| pod.name_any())?);
    }
    Ok(texts)
}

fn holds(text: &str, line: &str) -> bool {
    text.lines().any(|it| it == line)
}

#[tokio::test]
async fn the_replica_that_leads_tells_of_a_plugin_and_no_other_does() {
    run("the_replica_that_leads_tells_of_a_plugin", async |ns| {
        ns.apply(&plugin("counted")).await?;
        ns.await_plugin("counted", "to be ready", seconds(60), started).await?;
        let ready =
            format!("forward_operator_plugin_ready{{plugin=\"{}/counted\",reason=\"Ready\"}} 1", ns.name);
        await_until("the metrics of one replica", seconds(20), async || {
            let texts = scrape(&ns.cluster, "operator", 8080).await?;
            let leading: Vec<_> =
                texts.iter().filter(|text| holds(text, "forward_operator_leading 1")).collect();
            ensure!(leading.len() == 1, "{} of {} replicas lead", leading.len(), texts.len());
            let telling = texts.iter().filter(|text| holds(text, &ready)).count();
            ensure!(telling == 1 && holds(leading[0], &ready), "{ready}: told by {telling}");
            let never = holds(leading[0], "forward_operator_time_to_ready_seconds_count 0");
            ensure!(!never, "no time from a change until ready was counted");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn nothing_is_told_that_the_page_does_not_list() {
    run("nothing_is_told_that_the_page_does_not_list", async |ns| {
        for (component, port) in [("operator", 8080), ("gateway", 9090)] {
            let listed: BTreeMap<String, Row> = rows(&format!("forward_{component}_"))
                .into_iter()
                .map(|row| (row.name.clone(), row))
                .collect();
            let texts = scrape(&ns.cluster, component, port).await?;
            ensure!(!texts.is_empty(), "no pod of the {component}");
            for row in texts.iter().flat_map(|text| told(text)) {
                let page = listed.get(&row.name).with_context(|| format!("{row:?} is not listed"))?;
                ensure!(page.kind == row.kind && row.labels.is_subset(&page.labels), "{row:?}, but {page:?}");
            }
        }
        Ok(())
    })
    .await;
}
