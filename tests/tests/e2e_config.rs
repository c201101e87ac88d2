//! A configuration that does not fit its schema is held before any pod is started.

use anyhow::{Context, Result, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{
    PluginBuilder, TestNamespace, await_until, condition, has_condition, has_reason, in_state, plugin, run,
    seconds, started,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

const MESSAGE: &str = "the configuration does not fit its schema: \
    /exitCode: must be at most 99, found 300; /note: must be a string, found 7; what ran before serves on";

/// A plugin whose schema has a default for what its endpoint shows.
fn tuned() -> PluginBuilder {
    plugin("tuned").set(
        "configSchema",
        json!({
            "properties": {
                "note": {"type": "string", "default": "from the schema"},
                "exitCode": {"type": "integer", "maximum": 99},
            },
        }),
    )
}

async fn await_note(ns: &TestNamespace, note: &str) -> Result<()> {
    let (gateway, path) = (ns.cluster.gateway()?, ns.path("tuned"));
    await_until(&format!("the plugin to show {note:?}"), seconds(10), async || {
        let body: Value = gateway.get(&path).await?.json()?;
        ensure!(body["note"] == note, "{body}");
        Ok(())
    })
    .await
}

async fn pods(ns: &TestNamespace) -> Result<Vec<Option<String>>> {
    let params = ListParams::default().labels("goforward.dev/plugin=tuned");
    Ok(ns.api::<Pod>().list(&params).await?.items.into_iter().map(|pod| pod.metadata.uid).collect())
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_is_held_and_the_old_serves() {
    run("a_configuration_that_does_not_fit_is_held", async |ns| {
        ns.apply(&tuned()).await?;
        let fits = ns.await_plugin("tuned", "to be ready", seconds(60), started).await?;
        ensure!(has_condition("ConfigValid", "True")(&fits), "{:?}", fits.status);
        await_note(ns, "from the schema").await?;
        let before = pods(ns).await?;

        ns.apply(&tuned().config("note", 7).config("exitCode", 300)).await?;
        let refused = has_reason("Ready", "ConfigInvalid");
        let held = ns.await_plugin("tuned", "to be held", seconds(30), &refused).await?;
        let message = |plugin: &Plugin| Some(condition(plugin, "Ready")?.message.clone());
        ensure!(message(&held).as_deref() == Some(MESSAGE), "{:?}", message(&held));
        ensure!(has_condition("ConfigValid", "False")(&held) && has_condition("Stalled", "True")(&held));
        ensure!(in_state(PluginState::Started)(&held), "{:?}", held.status);
        ensure!(pods(ns).await? == before, "the pods changed");
        await_note(ns, "from the schema").await?;

        ns.apply(&tuned().config("note", "mended")).await?;
        let mended = ns.await_plugin("tuned", "to be ready again", seconds(60), started).await?;
        let verdict = condition(&mended, "ConfigValid").context("a verdict")?;
        ensure!(verdict.status == "True", "{verdict:?}");
        await_note(ns, "mended").await
    })
    .await;
}

#[tokio::test]
async fn a_configuration_is_judged_by_the_schema_that_the_image_announced() {
    run("a_configuration_is_judged_by_the_announced_schema", async |ns| {
        ns.apply(&plugin("announcing")).await?;
        let announced = |plugin: &Plugin| {
            let schema = plugin.status.as_ref().and_then(|status| status.config_schema.as_ref());
            schema
                .is_some_and(|schema| schema.image == plugin.spec.image && schema.schema.contains("exitCode"))
        };
        let known = |plugin: &Plugin| started(plugin) && announced(plugin);
        ns.await_plugin("announcing", "to announce its schema", seconds(60), known).await?;
        ns.apply(&plugin("announcing").config("exitCode", 256)).await?;
        let held = has_reason("Ready", "ConfigInvalid");
        let held = ns.await_plugin("announcing", "to be held", seconds(30), held).await?;
        let verdict = condition(&held, "ConfigValid").context("a verdict")?;
        ensure!(verdict.message == "/exitCode: must be at most 255, found 256", "{verdict:?}");
        ensure!(in_state(PluginState::Started)(&held), "{:?}", held.status);
        Ok(())
    })
    .await;
}
