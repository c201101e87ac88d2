//! In every version that a plugin ever has, kstatus and Argo CD make of it what it is.

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    TestNamespace, condition,
    gitops::{History, Verdict, verdicts},
    has_condition, has_reason, plugin, run, seconds, started,
};
use serde_json::{Value, json};

#[tokio::test]
async fn tools_see_each_moment_of_a_plugins_life_as_it_is() {
    run("tools_see_each_moment_of_a_plugins_life", async |ns| {
        let history = History::begin(ns, "story").await?;
        live(ns).await?;
        let versions = history.end(seconds(60)).await?;
        let said = verdicts(&versions).await?;
        for (version, verdict) in versions.iter().zip(&said) {
            check(version, verdict).with_context(|| {
                let status = serde_saphyr::to_string(&version["status"]).unwrap_or_default();
                format!("generation {}, status\n{status}\n{verdict:?}", version["metadata"]["generation"])
            })?;
        }
        let kstatus: Vec<_> = said.iter().map(|verdict| verdict.kstatus.status.as_str()).collect();
        in_turn(
            &kstatus,
            &["InProgress", "Current", "InProgress", "Failed", "InProgress", "Current", "Terminating"],
        )?;
        let argo: Vec<_> = said.iter().map(|verdict| verdict.argo.status.as_str()).collect();
        in_turn(&argo, &["Progressing", "Healthy", "Degraded", "Healthy", "Suspended", "Progressing"])
    })
    .await;
}

/// A plugin comes up, is updated to what cannot be, is mended, stopped and deleted.
async fn live(ns: &TestNamespace) -> Result<()> {
    ns.apply(&plugin("story")).await?;
    ns.await_plugin("story", "to be ready", seconds(60), started).await?;
    // Nothing listens there: the answer is immediate.
    ns.apply(&plugin("story").version("2.0.0").image("localhost:1/absent:2.0.0")).await?;
    ns.await_plugin("story", "to be stalled", seconds(60), has_condition("Stalled", "True")).await?;
    ns.apply(&plugin("story").version("1.1.0").image("forward.local/testbed:1.1.0")).await?;
    ns.await_plugin("story", "to be ready again", seconds(90), started).await?;
    ns.patch_plugin("story", json!({"spec": {"suspend": true}})).await?;
    ns.await_plugin("story", "to be stopped", seconds(60), has_reason("Ready", "Suspended")).await?;
    ns.delete_plugin("story").await?;
    ns.await_plugin_gone("story", seconds(60)).await
}

fn check(version: &Value, verdict: &Verdict) -> Result<()> {
    let (kstatus, argo) = (verdict.kstatus.status.as_str(), verdict.argo.status.as_str());
    let plugin: Plugin = serde_json::from_value(version.clone())?;
    if plugin.metadata.deletion_timestamp.is_some() {
        ensure!((kstatus, argo) == ("Terminating", "Progressing"), "it is going");
        return Ok(());
    }
    let holds = |type_| condition(&plugin, type_).is_some_and(|condition| condition.status == "True");
    ensure!((kstatus == "Failed") == holds("Stalled"), "failed is what is stalled, and nothing else");
    ensure!((argo == "Degraded") == holds("Stalled"), "degraded is what is stalled, and nothing else");
    // What one that is stopped on purpose is to kstatus is not this test's matter.
    if !plugin.spec.suspend {
        ensure!((kstatus == "Current") == holds("Ready"), "current is what is ready, and nothing else");
        ensure!((argo == "Healthy") == holds("Ready"), "healthy is what is ready, and nothing else");
    }
    Ok(())
}

/// Words come in an order, with whatever between them.
fn in_turn(all: &[&str], wanted: &[&str]) -> Result<()> {
    let mut rest = all.iter();
    for word in wanted {
        ensure!(rest.any(|one| one == word), "no {word} in its turn of {wanted:?} in {all:?}");
    }
    Ok(())
}
