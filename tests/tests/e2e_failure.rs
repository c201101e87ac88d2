//! A plugin that fails says why in plain words, and nobody else notices.

use anyhow::{Context, Result, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{PluginBuilder, TestNamespace, condition, in_state, plugin, run, seconds, started};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::api::ListParams;
use serde_json::json;

/// Apply a plugin that must fail, and give the message of its Ready condition once it holds all
/// of `words`.
async fn failure(ns: &TestNamespace, plugin: &PluginBuilder, words: &[&str]) -> Result<Plugin> {
    ns.apply(plugin).await?;
    let what = format!("to fail with {words:?}");
    let failed = ns
        .await_plugin(plugin.name(), &what, seconds(120), |plugin| {
            let message = condition(plugin, "Ready").map(|ready| ready.message.clone()).unwrap_or_default();
            in_state(PluginState::Error)(plugin) && words.iter().all(|word| message.contains(word))
        })
        .await?;
    ensure!(condition(&failed, "Ready").is_some_and(|ready| ready.status == "False"));
    Ok(failed)
}

#[tokio::test]
async fn a_crash_is_told_with_its_exit_code_and_last_words() {
    run("a_crash_is_told_with_its_exit_code_and_last_words", async |ns| {
        ns.apply(&plugin("sound")).await?;
        ns.await_plugin("sound", "to be ready", seconds(60), started).await?;
        let before = pod_uids(ns, "sound").await?;
        failure(
            ns,
            &plugin("crashing").config("failInitialize", "no such queue"),
            &["code 1", "no such queue"],
        )
        .await?;
        ns.apply(&plugin("dependent").needs("crashing")).await?;
        let stalled = |plugin: &Plugin| condition(plugin, "Stalled").is_some_and(|c| c.status == "True");
        ns.await_plugin("crashing", "to be stalled", seconds(120), stalled).await?;
        let dependent = ns.plugin("dependent").await?;
        let waits = condition(&dependent, "DependenciesReady").context("a condition")?;
        ensure!(waits.status == "False" && waits.message.contains("crashing"), "{waits:?}");
        let sound = ns.plugin("sound").await?;
        ensure!(started(&sound), "{:?}", sound.status);
        ensure!(pod_uids(ns, "sound").await? == before, "the sound plugin's pods changed");
        // Mended by an edit, without any other touch.
        ns.apply(&plugin("crashing")).await?;
        ns.await_plugin("crashing", "to be ready", seconds(60), started).await?;
        ns.await_plugin("dependent", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

async fn pod_uids(ns: &TestNamespace, plugin: &str) -> Result<Vec<Option<String>>> {
    let params = ListParams::default().labels(&format!("goforward.dev/plugin={plugin}"));
    let pods = ns.api::<Pod>().list(&params).await?;
    Ok(pods.items.into_iter().map(|pod| pod.metadata.uid).collect())
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    run("an_image_that_is_not_there_is_named", async |ns| {
        // Nothing listens there: the answer is immediate.
        let image = "localhost:1/absent:9.9.9";
        let failed = failure(ns, &plugin("absent").image(image), &[image]).await?;
        ensure!(condition(&failed, "Stalled").is_some_and(|stalled| stalled.status == "True"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn running_out_of_memory_is_told_with_the_limit() {
    run("running_out_of_memory_is_told_with_the_limit", async |ns| {
        let greedy = plugin("greedy").config("allocate", "256Mi");
        failure(ns, &greedy.set("sandbox", json!({"memory": "48Mi", "cpu": "200m"})), &["memory", "48Mi"])
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_never_gets_ready_is_told_so() {
    run("a_plugin_that_never_gets_ready_is_told_so", async |ns| {
        // An image that listens on another port than the one that is asked.
        let deaf = plugin("deaf")
            .set("protocol", "Http")
            .image("forward.local/busybox:1.0.0")
            .set("http", json!({"port": 9999, "routes": [{"path": ns.path("deaf")}]}))
            .set("sandbox", json!({"memory": "16Mi", "cpu": "50m", "timeout": "1s"}));
        failure(ns, &deaf, &["ready", "62s"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_no_node_can_hold_is_told_so() {
    run("a_pod_that_no_node_can_hold_is_told_so", async |ns| {
        let huge = plugin("huge").set("sandbox", json!({"memory": "900Gi", "cpu": "100m"}));
        failure(ns, &huge, &["Insufficient memory"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn events_carry_the_reason() {
    run("events_carry_the_reason", async |ns| {
        ns.apply(&plugin("shop").needs("stock")).await?;
        let told =
            |plugin: &Plugin| condition(plugin, "Ready").is_some_and(|ready| ready.message.contains("stock"));
        let shop = ns.await_plugin("shop", "to say what is missing", seconds(30), told).await?;
        let reason = condition(&shop, "Ready").context("a condition")?.reason.clone();
        forward_tests::await_until("an event with the reason", seconds(10), async || {
            let events = ns.api::<k8s_openapi::api::events::v1::Event>().list(&ListParams::default()).await?;
            let about = |object: &ObjectReference| object.name.as_deref() == Some("shop");
            let found = events.items.iter().any(|event| {
                event.regarding.as_ref().is_some_and(about)
                    && event.reason.as_deref() == Some(reason.as_str())
            });
            ensure!(found, "no event about shop with reason {reason}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone_and_named() {
    run("an_object_of_somebody_else_is_left_alone_and_named", async |ns| {
        ns.apply_yaml(
            "{apiVersion: v1, kind: Service, metadata: {name: taken}, spec: {ports: [{port: 99}]}}",
        )
        .await?;
        ns.apply(&plugin("taken")).await?;
        let refused = |plugin: &Plugin| condition(plugin, "Accepted").is_some_and(|c| c.status == "False");
        let taken = ns.await_plugin("taken", "to be refused", seconds(30), refused).await?;
        let message = &condition(&taken, "Accepted").context("a condition")?.message;
        ensure!(message.contains("Service \"taken\""), "{message}");
        let service =
            ns.await_object::<k8s_openapi::api::core::v1::Service>("taken", "to be there", seconds(5), |s| {
                s.is_some()
            });
        let service = service.await?.context("a service")?;
        ensure!(service.metadata.owner_references.is_none(), "it was taken over");
        Ok(())
    })
    .await;
}
