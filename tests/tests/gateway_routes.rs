//! What plugins offer is registered in the cluster and carried by the gateway.

use anyhow::{Context, Result, ensure};
use forward_crds::{HealthStatus, Plugin};
use forward_tests::{Answer, Body, TestNamespace, condition, has_reason, plugin, run, seconds, started};
use http::Request;
use http_body_util::BodyExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A third party's web server with one route.
fn site(name: &str, priority: i32, path: &str) -> Value {
    json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {
            "version": "1.0.0",
            "image": "forward.local/busybox:1.0.0",
            "protocol": "Http",
            "priority": priority,
            "http": {"routes": [{"method": "GET", "path": path}]},
            "sandbox": {"memory": "16Mi", "cpu": "50m"},
        },
    })
}

fn problem(answer: &Answer) -> Result<Value> {
    let kind = answer.headers.get("content-type").context("a content type")?;
    ensure!(kind == "application/problem+json", "{kind:?}");
    answer.json()
}

#[tokio::test]
async fn of_two_claims_to_a_route_the_higher_priority_wins_and_the_loser_is_told() {
    run("of_two_claims_to_a_route_the_higher_priority_wins", async |ns| {
        let path = format!("/{}/claimed", ns.name);
        ns.apply_as("forward-tests", &site("older", 0, &path)).await?;
        ns.await_plugin("older", "to be ready", seconds(60), started).await?;
        ns.apply_as("forward-tests", &site("newer", 5, &path)).await?;
        ns.await_plugin("newer", "to be ready", seconds(60), started).await?;
        let lost = has_reason("Registered", "RouteConflict");
        let older = ns.await_plugin("older", "to have lost its route", seconds(30), lost).await?;
        let route = older.status.context("status")?.routes.into_iter().next().context("a route")?;
        ensure!(
            !route.active && route.message.as_ref().is_some_and(|text| text.contains("newer")),
            "{route:?}"
        );
        ns.api::<Plugin>().delete("newer", &DeleteParams::default()).await?;
        ns.await_plugin("older", "to have its route again", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unhealthy_plugin_is_answered_for_with_503_until_it_is_well() {
    run("an_unhealthy_plugin_is_answered_for_with_503_until_it_is_well", async |ns| {
        let check = json!({"interval": "1s", "timeout": "1s", "failureThreshold": 1});
        ns.apply(&plugin("moody").set("health", check)).await?;
        ns.await_plugin("moody", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("moody"), 200, seconds(10)).await?;
        let switch = format!("{}health", ns.path("moody"));
        let ailment = json!({"unhealthy": "queue is full"}).to_string();
        let request =
            Request::post(switch).header("content-type", "application/json").body(ailment.into())?;
        let flipped = gateway.send(request).await?;
        ensure!(flipped.status.is_success(), "{flipped:?}");
        let sick =
            ns.await_plugin("moody", "to be unhealthy", seconds(20), is(HealthStatus::Unhealthy)).await?;
        let health = sick.status.as_ref().and_then(|status| status.health.clone()).context("health")?;
        ensure!(health.message.contains("queue is full"), "{health:?}");
        ensure!(condition(&sick, "Healthy").is_some_and(|healthy| healthy.status == "False"));
        let answer = gateway.await_status(&ns.path("moody"), 503, seconds(10)).await?;
        ensure!(problem(&answer)?.to_string().contains("moody"), "{}", answer.text());
        // The gateway does not let the request that would heal it through: its pod starts anew.
        ns.api::<k8s_openapi::api::core::v1::Pod>()
            .delete_collection(
                &DeleteParams::default(),
                &kube::api::ListParams::default().labels("goforward.dev/plugin=moody"),
            )
            .await?;
        ns.await_plugin("moody", "to be healthy again", seconds(90), is(HealthStatus::Healthy)).await?;
        gateway.await_status(&ns.path("moody"), 200, seconds(10)).await?;
        Ok(())
    })
    .await;
}

fn is(status: HealthStatus) -> impl Fn(&Plugin) -> bool {
    move |plugin| {
        let health = plugin.status.as_ref().and_then(|seen| seen.health.as_ref());
        health.is_some_and(|health| health.status == status)
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_in_words() {
    run("what_is_not_there_is_answered_in_words", async |ns| {
        ns.apply(&plugin("there")).await?;
        ns.await_plugin("there", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("there"), 200, seconds(10)).await?;
        let missing = gateway.get(&format!("/{}/nowhere", ns.name)).await?;
        ensure!(missing.status == 404 && problem(&missing)?["status"] == 404, "{missing:?}");
        let wrong = gateway.get(&format!("{}echo", ns.path("there"))).await?;
        let allow = wrong.headers.get("allow").context("Allow")?.to_str()?.to_owned();
        ensure!(wrong.status == 405 && allow.contains("POST"), "{wrong:?}");
        problem(&wrong)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn bodies_headers_and_events_pass_through() {
    run("bodies_headers_and_events_pass_through", async |ns| {
        ns.apply(&plugin("through")).await?;
        ns.await_plugin("through", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("through"), 200, seconds(10)).await?;
        echoes_a_large_body(ns).await?;
        shows_what_the_gateway_adds(ns).await?;
        streams_events(ns).await
    })
    .await;
}

async fn echoes_a_large_body(ns: &TestNamespace) -> Result<()> {
    let sent: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
    let answer = ns.cluster.gateway()?.post(&format!("{}echo", ns.path("through")), sent.clone()).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    ensure!(answer.body == sent, "{} of {} bytes came back, or others", answer.body.len(), sent.len());
    Ok(())
}

async fn shows_what_the_gateway_adds(ns: &TestNamespace) -> Result<()> {
    let request = Request::get(format!("{}request", ns.path("through")))
        .header("x-forwarded-for", "203.0.113.9")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .body(Body::default())?;
    let answer = ns.cluster.gateway()?.send(request).await?;
    let headers = answer.json::<Value>()?["headers"].clone();
    ensure!(headers["x-secret"].is_null(), "a header of the connection was passed on: {headers}");
    ensure!(!headers["x-forwarded-for"].to_string().contains("203.0.113.9"), "forged: {headers}");
    for name in ["x-request-id", "traceparent", "x-forwarded-for", "x-forwarded-proto", "forwarded"] {
        ensure!(headers[name].is_array(), "{name} is missing: {headers}");
    }
    Ok(())
}

async fn streams_events(ns: &TestNamespace) -> Result<()> {
    let request = Request::get(format!("{}sse?n=3&interval=300", ns.path("through"))).body(Body::default())?;
    let mut response = ns.cluster.gateway()?.stream(request).await?;
    let begin = std::time::Instant::now();
    let mut arrivals = Vec::new();
    while let Some(frame) = response.frame().await {
        if frame?.data_ref().is_some_and(|data| !data.is_empty()) {
            arrivals.push(begin.elapsed());
        }
    }
    let spread = arrivals.last().zip(arrivals.first()).map(|(last, first)| last.saturating_sub(*first));
    ensure!(spread.is_some_and(|spread| spread.as_millis() >= 400), "the events came at once: {arrivals:?}");
    Ok(())
}

#[tokio::test]
async fn hosts_of_the_namespace_bound_its_routes() {
    run("hosts_of_the_namespace_bound_its_routes", async |ns| {
        let host = format!("{}.example.com", ns.name);
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"hosts": [host]},
        });
        ns.apply_as("forward-tests", &system).await?;
        ns.apply(&plugin("hosted")).await?;
        ns.await_plugin("hosted", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        let ask = async |host: &str| {
            let request = Request::get(ns.path("hosted")).header("host", host).body(Body::default())?;
            gateway.send(request).await
        };
        forward_tests::await_until("its own host to be served", seconds(10), async || {
            let answer = ask(&host).await?;
            ensure!(answer.status == 200, "{}", answer.status);
            Ok(())
        })
        .await?;
        let other = ask("other.example.com").await?;
        ensure!(other.status == 404, "{}", other.status);
        Ok(())
    })
    .await;
}
