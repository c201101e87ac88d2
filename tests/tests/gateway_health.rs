//! How plugins fare decides where requests go, and is told to those who want to know.

use anyhow::{Context, Result, ensure};
use forward_crds::{Ailment, Plugin, UnhealthyPod};
use forward_tests::{TestNamespace, await_until, condition, plugin, run, seconds, started};
use http::Request;
use serde_json::{Value, json};

/// The pods that get no requests.
fn out(plugin: &Plugin) -> Vec<UnhealthyPod> {
    let health = plugin.status.as_ref().and_then(|status| status.health.clone());
    health.map(|health| health.unhealthy_pods).unwrap_or_default()
}

/// Have the pod that is asked say that it is unhealthy, for so many seconds.
async fn ail(ns: &TestNamespace, plugin: &str, for_seconds: u64) -> Result<()> {
    let ailment = json!({"unhealthy": "no database", "seconds": for_seconds}).to_string();
    let request = Request::post(format!("{}health", ns.path(plugin)));
    let request = request.header("content-type", "application/json").body(ailment.into())?;
    let answer = ns.cluster.gateway()?.send(request).await?;
    ensure!(answer.status.is_success(), "{answer:?}");
    Ok(())
}

/// Which pod answers.
async fn answering(ns: &TestNamespace, plugin: &str) -> Result<String> {
    let answer = ns.cluster.gateway()?.get(&ns.path(plugin)).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let seen: Value = serde_json::from_str(&answer.text())?;
    Ok(seen["host"].as_str().context("host")?.to_owned())
}

#[tokio::test]
async fn a_pod_that_is_unhealthy_gets_no_requests_until_it_is_well() {
    run("an_unhealthy_pod_gets_no_requests_until_it_is_well", async |ns| {
        let check = json!({"interval": "1s", "timeout": "1s", "failureThreshold": 2, "successThreshold": 2});
        ns.apply(&plugin("pair").set("replicas", json!(2)).set("health", check)).await?;
        ns.await_plugin("pair", "to be ready with both pods", seconds(90), |seen| {
            started(seen) && seen.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2))
        })
        .await?;
        ns.cluster.gateway()?.await_status(&ns.path("pair"), 200, seconds(10)).await?;
        ail(ns, "pair", 20).await?;
        let seen = ns.await_plugin("pair", "to have a pod out", seconds(20), |seen| out(seen).len() == 1);
        let seen = seen.await?;
        let ill = out(&seen).remove(0);
        ensure!(ill.reason == Ailment::Unhealthy && ill.message.contains("no database"), "{ill:?}");
        ensure!(condition(&seen, "Healthy").is_some_and(|healthy| healthy.status == "True"), "one is well");
        // Each replica of the gateway learns it from the status.
        let avoided = await_until("no request to go to it", seconds(10), async || {
            for _ in 0..20 {
                let pod = answering(ns, "pair").await?;
                ensure!(pod != ill.pod, "it still gets requests");
            }
            Ok(())
        });
        avoided.await?;
        for _ in 0..200 {
            ensure!(answering(ns, "pair").await? != ill.pod, "it got a request again while it was out");
        }
        ns.await_plugin("pair", "to have it back", seconds(60), |seen| out(seen).is_empty()).await?;
        let back = async || {
            ensure!(answering(ns, "pair").await? == ill.pod, "it gets no request");
            Ok(())
        };
        await_until("it to get requests again", seconds(20), back).await
    })
    .await;
}

/// What alerts have reached a plugin that takes them.
async fn alerts(ns: &TestNamespace, receiver: &str) -> Result<Vec<String>> {
    let answer = ns.cluster.gateway()?.get(&format!("{}hooks", ns.path(receiver))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(serde_json::from_str(&answer.text())?)
}

#[tokio::test]
async fn an_alert_reaches_its_receiver_and_so_does_its_end() {
    run("an_alert_reaches_its_receiver_and_so_does_its_end", async |ns| {
        ns.apply(&plugin("receiver")).await?;
        ns.await_plugin("receiver", "to be ready", seconds(60), started).await?;
        ns.cluster.gateway()?.await_status(&ns.path("receiver"), 200, seconds(10)).await?;
        // The chart of the tests allows this place without TLS: it is the gateway's own.
        let url = format!("http://forward-gateway.forward-system{}alerts", ns.path("receiver"));
        let webhook = json!({"url": url, "groupWait": "1s", "groupInterval": "1s", "repeatInterval": "1h"});
        let nobody = json!({"url": "http://nobody.example/alerts"});
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"alerts": {"for": "1s", "receivers": [
                {"name": "team", "alerts": ["PluginUnhealthy"], "webhook": webhook},
                {"name": "nobody", "webhook": nobody},
            ]}},
        });
        ns.apply_as("forward-tests", &system).await?;
        let check = json!({"interval": "1s", "timeout": "1s", "failureThreshold": 1});
        ns.apply(&plugin("moody").set("health", check)).await?;
        ns.await_plugin("moody", "to be ready", seconds(60), started).await?;
        ns.cluster.gateway()?.await_status(&ns.path("moody"), 200, seconds(10)).await?;
        ail(ns, "moody", 10).await?;
        let told = ["moody PluginUnhealthy firing", "moody PluginUnhealthy resolved"];
        for (count, what) in [(1, "the alert to come"), (2, "its end to come")] {
            await_until(what, seconds(60), async || {
                let alerts = alerts(ns, "receiver").await?;
                ensure!(alerts == told[..count], "{alerts:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await;
}
