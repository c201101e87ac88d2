//! Configurations that plugins take while they run: no pod is replaced and no request fails.

use std::time::Instant;

use anyhow::{Result, ensure};
use forward_tests::{
    Load, PluginBuilder, TestNamespace, await_until, has_reason, plugin, run, seconds, started,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// Requests a second meanwhile.
const RATE: u32 = 100;

/// The plugin `tuned` with a note.
fn tuned(note: &str) -> PluginBuilder {
    plugin("tuned").set("reload", "InPlace").config("note", note)
}

async fn start(ns: &TestNamespace, replicas: i32) -> Result<()> {
    ns.apply(&tuned("0").replicas(replicas)).await?;
    ns.await_plugin("tuned", "to start", seconds(60), started).await?;
    ns.cluster.gateway()?.await_status(&ns.path("tuned"), 200, seconds(10)).await.map(drop)
}

/// What a pod of it answers.
async fn answer(ns: &TestNamespace) -> Result<Value> {
    ns.cluster.gateway()?.get(&ns.path("tuned")).await?.json()
}

/// Wait until every answer of a few has this note; gives the last.
async fn await_note(ns: &TestNamespace, note: &str) -> Result<Value> {
    await_until(&format!("the note {note}"), seconds(20), async || {
        let mut last = Value::Null;
        for _ in 0..8 {
            last = answer(ns).await?;
            ensure!(last["note"] == note, "{last}");
        }
        Ok(last)
    })
    .await
}

/// Its pods, each with how often it was started again.
async fn pods(ns: &TestNamespace) -> Result<Vec<(String, i32)>> {
    let params = ListParams::default().labels("goforward.dev/plugin=tuned");
    let restarts = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    };
    let list = ns.api::<Pod>().list(&params).await?;
    Ok(list.iter().map(|pod| (pod.name_any(), restarts(pod))).collect())
}

#[tokio::test]
async fn pods_take_a_new_configuration_without_a_failed_request() {
    run("reload_taken", async |ns| {
        start(ns, 2).await?;
        let before = pods(ns).await?;
        let load = Load::start(&ns.cluster.gateway()?, &ns.path("tuned"), RATE)?;
        ns.apply(&tuned("1").replicas(2)).await?;
        await_note(ns, "1").await?;
        ns.await_plugin("tuned", "to be ready with it", seconds(20), started).await?;
        load.stop().await?.check(RATE)?;
        assert_eq!(pods(ns).await?, before);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn many_edits_in_a_row_are_at_most_two_reloads() {
    run("reload_burst", async |ns| {
        start(ns, 1).await?;
        let begin = Instant::now();
        for edit in 1..=20 {
            ns.apply(&tuned(&edit.to_string())).await?;
        }
        let last = await_note(ns, "20").await?;
        // A reload begins 0.6 s after the first edit at the earliest, and the next 2 s after it: more
        // than two where a slow machine takes long.
        let most = u64::try_from(1 + begin.elapsed().as_millis().saturating_sub(600) / 2_000)?.max(2);
        let reloads = last["reloads"].as_u64();
        ensure!(reloads.is_some_and(|reloads| (1..=most).contains(&reloads)), "more than {most}: {last}");
        ns.await_plugin("tuned", "to be ready with the last", seconds(20), started).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_refused_configuration_leaves_the_one_before_and_is_told() {
    run("reload_refused", async |ns| {
        start(ns, 1).await?;
        ns.apply(&tuned("1").config("failReload", "the database is another one")).await?;
        let refused = has_reason("Stalled", "ConfigRefused");
        let plugin = ns.await_plugin("tuned", "to say that it refuses", seconds(30), refused).await?;
        let message = plugin.status.and_then(|status| status.reload?.message);
        assert_eq!(message.as_deref(), Some("reload failed: the database is another one"));
        assert_eq!(answer(ns).await?["note"], "0");
        ns.apply(&tuned("2")).await?;
        ns.await_plugin("tuned", "to be ready with the next", seconds(30), started).await?;
        await_note(ns, "2").await.map(drop)
    })
    .await;
}

/// The plugin `tuned` with its note from a Secret.
async fn start_with_secret(ns: &TestNamespace, reload: &str) -> Result<()> {
    ns.apply_as("test", &secret("first")).await?;
    let from = json!([{"path": "/note", "secretKeyRef": {"name": "words", "key": "note"}}]);
    let tuned = plugin("tuned").set("reload", reload).set("configFrom", from);
    ns.apply(&tuned.set("health", json!({"interval": "1s"}))).await?;
    ns.await_plugin("tuned", "to start", seconds(60), started).await?;
    await_note(ns, "first").await.map(drop)
}

fn secret(note: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words"}, "stringData": {"note": note}})
}

async fn change_secret(ns: &TestNamespace, note: &str) -> Result<()> {
    let changed = Patch::Merge(secret(note));
    ns.api::<Secret>().patch("words", &PatchParams::default(), &changed).await?;
    // The kubelet looks by itself about once a minute, and at once when a pod changes.
    for (pod, _) in pods(ns).await? {
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"example.com/look": note}}}));
        ns.api::<Pod>().patch(&pod, &PatchParams::default(), &touch).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_secret_reaches_a_plugin_that_runs() {
    run("reload_secret", async |ns| {
        start_with_secret(ns, "InPlace").await?;
        let before = pods(ns).await?;
        change_secret(ns, "second").await?;
        await_note(ns, "second").await?;
        assert_eq!(pods(ns).await?, before);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_secret_rolls_a_plugin_that_reads_it_when_it_starts() {
    run("roll_secret", async |ns| {
        start_with_secret(ns, "Rolling").await?;
        for note in ["second", "third"] {
            let before = pods(ns).await?;
            let load = Load::start(&ns.cluster.gateway()?, &ns.path("tuned"), RATE)?;
            change_secret(ns, note).await?;
            await_until("the note to arrive", seconds(60), async || {
                ensure!(answer(ns).await?["note"] == note);
                Ok(())
            })
            .await?;
            ns.await_plugin("tuned", "to be ready with it", seconds(60), started).await?;
            await_note(ns, note).await?;
            load.stop().await?.check(RATE)?;
            await_until("the old pods to be gone", seconds(60), async || {
                let after = pods(ns).await?;
                ensure!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await;
}
