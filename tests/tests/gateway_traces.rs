//! One trace of a request, from the gateway through a plugin to the plugin that it calls.

use anyhow::{Context, Result, ensure};
use forward_tests::{Cluster, FIELD_MANAGER, SYSTEM_NAMESPACE, await_until, plugin, run, seconds, started};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;

/// Where the gateway of the tests sends its spans.
const COLLECTOR: &str = "otel-collector";
/// Requests in a row: of one in 20 a trace is kept.
const REQUESTS: usize = 50;

#[derive(Clone, Debug, Deserialize)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    service: String,
    kind: String,
    name: String,
}

/// Whose the spans of a trace are, each after the one that it was called by, and of what kind.
fn path(spans: &[Span], first: &Span) -> Vec<(String, String)> {
    let mut path = vec![(first.service.clone(), first.kind.clone())];
    let mut last = first;
    while let Some(next) = spans.iter().find(|span| span.trace == first.trace && span.parent == last.id) {
        path.push((next.service.clone(), next.kind.clone()));
        last = next;
    }
    path
}

/// Have the name by which the gateway looks for its collector lead to a plugin.
async fn lead_to(cluster: &Cluster, plugin: &str) -> Result<Api<Service>> {
    let services = Api::<Service>::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": COLLECTOR},
        "spec": {"type": "ExternalName", "externalName": format!("{plugin}.svc.cluster.local")},
    });
    services.patch(COLLECTOR, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&service)).await?;
    Ok(services)
}

#[tokio::test]
async fn one_trace_goes_from_the_gateway_through_all_plugins_that_take_part() {
    run("one_trace_goes_through_all", async |ns| {
        ns.apply(&plugin("collector")).await?;
        ns.await_plugin("collector", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        let collected = format!("{}spans", ns.path("collector"));
        gateway.await_status(&collected, 200, seconds(10)).await?;
        let services = lead_to(&ns.cluster, &format!("collector.{}", ns.name)).await?;
        let environment = json!({"env": [
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": format!("http://collector.{}", ns.name)},
            {"name": "OTEL_BSP_SCHEDULE_DELAY", "value": "500"},
        ]});
        ns.apply(&plugin("back").set("template", environment.clone())).await?;
        ns.apply(&plugin("front").set("template", environment).needs("back")).await?;
        ns.await_plugin("front", "to be ready", seconds(60), started).await?;
        let called = format!("{}call/back", ns.path("front"));
        gateway.await_status(&called, 200, seconds(10)).await?;
        let seen = await_until("a trace of all who took part", seconds(60), async || {
            // Enough for one to be kept.
            for _ in 0..REQUESTS {
                ensure!(gateway.get(&called).await?.status == 200, "a plugin that is ready answers");
            }
            let spans: Vec<Span> = gateway.get(&collected).await?.json()?;
            let asked =
                |span: &&Span| span.parent.trim_matches('0').is_empty() && span.name.contains("/call/");
            let whole = |span: &&Span| path(&spans, span).len() == 4;
            let newest = || format!("{:?}", &spans[spans.len().saturating_sub(12)..]);
            let first = spans.iter().filter(asked).find(whole).with_context(newest)?;
            Ok((path(&spans, first), first.name.clone()))
        })
        .await;
        services.delete(COLLECTOR, &DeleteParams::default()).await?;
        let (path, name) = seen?;
        let expected = [
            ("forward-gateway", "SPAN_KIND_SERVER"),
            ("forward-gateway", "SPAN_KIND_CLIENT"),
            ("front", "SPAN_KIND_SERVER"),
            ("back", "SPAN_KIND_SERVER"),
        ];
        let expected = expected.map(|(service, kind)| (service.to_owned(), kind.to_owned()));
        ensure!(path == expected, "{path:?}");
        ensure!(name == format!("GET {}call/:dependency", ns.path("front")), "{name}");
        Ok(())
    })
    .await;
}
