//! What is declared of requests is done with them, and told.

use anyhow::{Context, Result, ensure};
use forward_crds::{MiddlewareState, Plugin, PluginSystem};
use forward_tests::{
    IN_A_ROW, TestNamespace, await_until, has_reason, plugin, run, seconds, signal, started,
};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::time::timeout;

fn http(middleware: &Value) -> Value {
    json!({"middleware": middleware})
}

/// Names of the chain, in order.
fn chain(plugin: &Plugin) -> Vec<String> {
    let entries = plugin.status.as_ref().map_or(&[][..], |status| &status.middleware);
    entries.iter().map(|entry| entry.name.clone()).collect()
}

#[tokio::test]
async fn middleware_of_plugin_and_namespace_acts_in_the_order_that_the_status_shows() {
    run("middleware_acts_in_the_order_of_the_status", async |ns| {
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"middleware": [
                {"name": "marked", "headers": {"response": {"set": [{"name": "X-Application", "value": "shop"}]}}},
            ]},
        });
        ns.apply_as("forward-tests", &system).await?;
        let own = json!([
            {"name": "private", "headers": {"response": {"set": [{"name": "Cache-Control", "value": "private"}]}}},
            {"name": "often", "rateLimit": {"requests": 4, "per": "1h", "by": "Everyone"}},
            {"name": "pages", "cors": {"origins": ["https://shop.example.com"]}},
        ]);
        ns.apply(&plugin("limited").set("http", http(&own))).await?;
        ns.await_plugin("limited", "to be ready", seconds(60), started).await?;
        let order = ["pages", "often", "marked", "private"];
        ns.await_plugin("limited", "to show its chain", seconds(20), |seen| chain(seen) == order).await?;
        is_let_through_until_the_limit(ns).await?;
        ns.api::<PluginSystem>().delete("default", &DeleteParams::default()).await?;
        let rest = ["pages", "often", "private"];
        ns.await_plugin("limited", "to be without the namespace's", seconds(20), |seen| chain(seen) == rest)
            .await?;
        Ok(())
    })
    .await;
}

/// However many replicas share the limit of four: each lets at least one request through, and all
/// together no more than one for each replica above it.
async fn is_let_through_until_the_limit(ns: &TestNamespace) -> Result<()> {
    let gateway = ns.cluster.gateway()?;
    // One request, or the limit would be reached before it is looked at.
    let first = await_until("a first answer", seconds(10), async || {
        let answer = gateway.get(&ns.path("limited")).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(answer)
    })
    .await?;
    for (name, expected) in [("x-application", "shop"), ("cache-control", "private"), ("vary", "Origin")] {
        let value = first.headers.get(name).with_context(|| format!("{name} of {:?}", first.headers))?;
        ensure!(value == expected, "{name}: {value:?}");
    }
    ensure!(first.headers.contains_key("ratelimit-policy"), "{:?}", first.headers);
    let mut passed = 1;
    let refused = loop {
        let answer = gateway.get(&ns.path("limited")).await?;
        if answer.status == 429 {
            break answer;
        }
        ensure!(answer.status == 200, "{answer:?}");
        passed += 1;
        ensure!(passed <= 5, "{passed} requests passed a limit of four that two replicas share");
    };
    ensure!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    ensure!(
        !refused.headers.contains_key("x-application"),
        "it did not come that far: {:?}",
        refused.headers
    );
    Ok(())
}

#[tokio::test]
async fn an_entry_that_cannot_be_carried_out_is_told_and_the_last_good_serves() {
    run("a_bad_entry_is_told_and_the_last_good_serves", async |ns| {
        let entry = |fallback: &str| {
            let changes = json!({"response": {"set": [{"name": "X-Good", "value": "yes"}]}});
            http(&json!([
                {"name": "good", "headers": changes},
                {"name": "nowhere", "routes": [{"path": "/nowhere"}], "fallback": {"plugin": fallback}},
            ]))
        };
        ns.apply(&plugin("careful").set("http", entry("other"))).await?;
        ns.await_plugin("careful", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("careful"), 200, seconds(10)).await?;
        // The API server does not compare this with the plugin's own name.
        ns.apply(&plugin("careful").set("http", entry("careful"))).await?;
        let refused = has_reason("Registered", "InvalidMiddleware");
        let seen = ns.await_plugin("careful", "to be told", seconds(30), refused).await?;
        let entries = seen.status.context("status")?.middleware;
        let bad = entries.iter().find(|entry| entry.name == "nowhere").context("the entry")?;
        ensure!(bad.state == MiddlewareState::Refused && bad.message.is_some(), "{bad:?}");
        let answer = gateway.get(&ns.path("careful")).await?;
        ensure!(answer.status == 200 && answer.headers.contains_key("x-good"), "{answer:?}");
        ns.apply(&plugin("careful").set("http", entry("other"))).await?;
        ns.await_plugin("careful", "to be ready again", seconds(30), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn bodies_are_what_a_schema_asks_for_or_are_not_seen() {
    run("bodies_are_what_a_schema_asks_for", async |ns| {
        let schema =
            |kind: &str| json!({"type": kind, "required": ["sku"], "properties": {"count": {"minimum": 1}}});
        let orders =
            |kind: &str| http(&json!([{"name": "orders", "validate": {"body": {"schema": schema(kind)}}}]));
        ns.apply(&plugin("strict").set("http", orders("object"))).await?;
        ns.await_plugin("strict", "to be ready", seconds(60), started).await?;
        ns.await_plugin("strict", "to show its chain", seconds(20), |seen| chain(seen) == ["orders"]).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("strict"), 200, seconds(10)).await?;
        let post = async |body: &'static str| {
            let request = Request::post(format!("{}echo", ns.path("strict")));
            gateway.send(request.header("content-type", "application/json").body(body.into())?).await
        };
        let good = post(r#"{"sku": "a"}"#).await?;
        ensure!(good.status == 200 && good.text() == r#"{"sku": "a"}"#, "{good:?}");
        let bad = post(r#"{"count": 0}"#).await?;
        let errors = bad.json::<Value>()?["errors"].clone();
        let expected = json!([
            {"pointer": "#/count", "detail": "must be at least 1", "value": "0"},
            {"pointer": "#/sku", "detail": "is required"},
        ]);
        ensure!(bad.status == 422 && errors == expected, "{bad:?}");
        // The operator, where it is asked, refuses what the API server cannot judge.
        let denied =
            ns.apply(&plugin("strict").set("http", orders("text"))).await.err().context("accepted")?;
        let denied = format!("{denied:#}");
        ensure!(denied.contains("validate.body.schema: it is no schema: /type"), "{denied}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_fallback_answers_for_a_plugin_that_is_stopped() {
    run("a_fallback_answers_for_a_stopped_plugin", async |ns| {
        let sorry = json!([
            {"name": "sorry", "fallback": {"respond": {"status": 203, "body": "come back later"}}},
            {"name": "few", "concurrency": {"max": 100}},
            {"name": "again", "retry": {"statuses": [503]}},
            {"name": "pods", "circuitBreaker": {"failures": 3}},
        ]);
        ns.apply(&plugin("sleepy").set("http", http(&sorry))).await?;
        ns.await_plugin("sleepy", "to be ready", seconds(60), started).await?;
        let order = ["again", "few", "pods", "sorry"];
        ns.await_plugin("sleepy", "to show its chain", seconds(20), |seen| chain(seen) == order).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("sleepy"), 200, seconds(10)).await?;
        ns.patch_plugin("sleepy", json!({"spec": {"suspend": true}})).await?;
        let answer = gateway.await_status(&ns.path("sleepy"), 203, seconds(60)).await?;
        ensure!(answer.text() == "come back later", "{answer:?}");
        let merged =
            json!({"spec": {"http": {"middleware": [{"name": "spare", "fallback": {"plugin": "spare"}}]}}});
        ns.patch_plugin("sleepy", merged).await?;
        gateway.await_status(&ns.path("sleepy"), 503, seconds(20)).await?;
        ns.apply(&plugin("spare")).await?;
        ns.await_plugin("spare", "to be ready", seconds(60), started).await?;
        // It has no such path, and says so itself.
        gateway.await_status(&ns.path("sleepy"), 404, seconds(20)).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_pod_does_not_answer_is_sent_to_another_as_well() {
    run("a_request_is_hedged_with_another_pod", async |ns| {
        let hedged = json!([
            {"name": "tail", "retry": {"causes": [], "hedgeAfter": "100ms", "budgetPercent": 100}},
        ]);
        ns.apply(&plugin("uneven").replicas(2).set("http", http(&hedged))).await?;
        ns.await_plugin("uneven", "to be ready", seconds(60), started).await?;
        ns.await_plugin("uneven", "to show its chain", seconds(20), |seen| chain(seen) == ["tail"]).await?;
        let gateway = ns.cluster.gateway()?;
        gateway.await_status(&ns.path("uneven"), 200, seconds(10)).await?;
        let pods = ns.api::<Pod>().list(&ListParams::default()).await?;
        let hangs = pods.iter().next().context("a pod")?;
        signal(hangs, "STOP")?;
        // Half of them go to the pod that hangs first, for as long as it counts as ready. A replica of the
        // gateway may learn of the second pod, or of the entry, only now.
        let answered = await_until("20 requests in a row to be answered", seconds(10), async || {
            for number in 0..20 {
                let answer = timeout(seconds(2), gateway.get(&ns.path("uneven"))).await;
                let answer = answer.with_context(|| format!("request {number} was not answered"))??;
                ensure!(answer.status == 200, "{answer:?}");
            }
            Ok(())
        })
        .await;
        signal(hangs, "CONT")?;
        answered
    })
    .await;
}

/// The state of what `guard` provides for a plugin.
fn guarded_as(state: MiddlewareState) -> impl Fn(&Plugin) -> bool {
    move |plugin| {
        let entries = plugin.status.as_ref().map_or(&[][..], |status| &status.middleware);
        let mut provided = entries.iter().filter(|entry| entry.provider.as_deref() == Some("guard"));
        provided.any(|entry| entry.name == "mark" && entry.state == state)
    }
}

/// Wait until requests for a plugin are answered with this status, and marked or not, by every replica
/// that is met.
async fn await_marked(ns: &TestNamespace, name: &str, status: u16, marked: bool) -> Result<()> {
    let gateway = ns.cluster.gateway()?;
    await_until("requests to be asked about, or not", seconds(30), async || {
        for _ in 0..IN_A_ROW {
            let answer = gateway.get(&ns.path(name)).await?;
            ensure!(answer.status == status, "{answer:?}");
            let is_marked = answer.headers.get("x-answer-marked-by").is_some_and(|by| by == "guard");
            ensure!(is_marked == marked, "{answer:?}");
            if answer.status == 200 {
                let seen: Value = answer.json()?;
                ensure!(seen["headers"]["x-marked-by"].is_null() != marked, "{seen}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_plugin_is_asked_about_requests_for_others_with_leave_alone() {
    run("a_plugin_is_asked_about_requests_with_leave", async |ns| {
        ns.apply(&plugin("guarded")).await?;
        ns.apply(&plugin("guard").config("middleware", "All")).await?;
        ns.await_plugin("guarded", "to be ready", seconds(60), started).await?;
        let held = has_reason("Registered", "MiddlewareNotAllowed");
        ns.await_plugin("guard", "to be told", seconds(60), held).await?;
        let refused = guarded_as(MiddlewareState::Refused);
        ns.await_plugin("guarded", "to show what it does not meet", seconds(30), refused).await?;
        await_marked(ns, "guarded", 200, false).await?;
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"middlewareFrom": ["guard"]},
        });
        ns.apply_as("forward-tests", &system).await?;
        ns.await_plugin("guard", "to be ready", seconds(30), started).await?;
        let active = guarded_as(MiddlewareState::Active);
        ns.await_plugin("guarded", "to show what it meets", seconds(30), active).await?;
        await_marked(ns, "guarded", 200, true).await?;
        await_marked(ns, "guard", 200, false).await?;
        let refused =
            Request::get(ns.path("guarded")).header("x-refuse", "not today").body(Default::default())?;
        let answer = ns.cluster.gateway()?.send(refused).await?;
        ensure!(answer.status == 403 && answer.body == "not today", "{answer:?}");
        ns.apply(&plugin("guard").config("middleware", "All").set("suspend", true)).await?;
        await_marked(ns, "guarded", 503, false).await?;
        ns.api::<Plugin>().delete("guard", &DeleteParams::default()).await?;
        await_marked(ns, "guarded", 200, false).await?;
        Ok(())
    })
    .await;
}
