//! A configuration that does not fit its schema is denied, or held before any pod is started.

use anyhow::{Context, Result, bail, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{
    FIELD_MANAGER, PluginBuilder, TestNamespace, await_until, condition, has_condition, has_reason, in_state,
    plugin, run, seconds, started,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;

const DENIAL: &str = "tuned: spec.config: it does not fit spec.configSchema: \
    /exitCode: must be at most 99, found 300; /note: must be a string, found 7; correct it, or the schema";

const MESSAGE: &str = "the configuration does not fit its schema: /note: must be a string, found 7; \
    what ran before serves on";

/// The operator, which is not asked about what it writes itself.
const OPERATOR: &str = "system:serviceaccount:forward-system:forward-operator";

/// A plugin whose schema has a default for what its endpoint shows.
fn tuned() -> PluginBuilder {
    plugin("tuned").set(
        "configSchema",
        json!({
            "properties": {
                "prefix": {"type": "string"},
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

async fn pods(ns: &TestNamespace, name: &str) -> Result<Vec<Option<String>>> {
    let params = ListParams::default().labels(&format!("goforward.dev/plugin={name}"));
    Ok(ns.api::<Pod>().list(&params).await?.items.into_iter().map(|pod| pod.metadata.uid).collect())
}

/// Apply a plugin and be denied, once the operator is there to do so.
async fn await_denial(ns: &TestNamespace, plugin: &PluginBuilder, expected: &str) -> Result<()> {
    let manifest = plugin.build(&ns.path(plugin.name()));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let apply = async |params: &PatchParams| match ns
        .api::<Plugin>()
        .patch(plugin.name(), params, &Patch::Apply(&manifest))
        .await
    {
        Err(kube::Error::Api(status)) if status.message.contains(expected) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it was accepted"),
    };
    let dry = params.clone().dry_run();
    await_until("the webhook to deny", seconds(120), async || apply(&dry).await).await?;
    apply(&params).await
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_is_denied_and_changes_nothing() {
    run("a_configuration_that_does_not_fit_is_denied", async |ns| {
        ns.apply(&tuned()).await?;
        let fits = ns.await_plugin("tuned", "to be ready", seconds(60), started).await?;
        ensure!(has_condition("ConfigValid", "True")(&fits), "{:?}", fits.status);
        await_note(ns, "from the schema").await?;
        let before = pods(ns, "tuned").await?;

        await_denial(ns, &tuned().config("note", 7).config("exitCode", 300), DENIAL).await?;
        let now = ns.plugin("tuned").await?;
        ensure!(now.spec == fits.spec && started(&now), "{now:?}");
        ensure!(pods(ns, "tuned").await? == before, "the pods changed");

        ns.apply(&tuned().config("note", "mended")).await?;
        await_note(ns, "mended").await
    })
    .await;
}

/// Set a plugin's note while nobody is there to deny it.
async fn slip_in(ns: &TestNamespace, name: &str, note: Value) -> Result<()> {
    let patch = json!({"spec": {"config": {"note": note}}}).to_string();
    let output = Command::new("kubectl")
        .args(["--namespace", &ns.name, "--as", OPERATOR, "patch", "plugin", name, "--type=merge"])
        .args(["--patch", &patch])
        .kill_on_drop(true)
        .output()
        .await
        .context("run kubectl")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_slipped_in_is_held_and_can_be_labelled_stopped_and_mended() {
    run("a_configuration_that_slipped_in_is_held", async |ns| {
        ns.apply(&tuned()).await?;
        ns.await_plugin("tuned", "to be ready", seconds(60), started).await?;
        let before = pods(ns, "tuned").await?;

        slip_in(ns, "tuned", json!(7)).await?;
        let refused = has_reason("Ready", "ConfigInvalid");
        let held = ns.await_plugin("tuned", "to be held", seconds(30), refused).await?;
        let message = &condition(&held, "Ready").context("Ready")?.message;
        ensure!(message == MESSAGE, "{message}");
        ensure!(has_condition("ConfigValid", "False")(&held) && has_condition("Stalled", "True")(&held));
        ensure!(in_state(PluginState::Started)(&held), "{:?}", held.status);
        ensure!(pods(ns, "tuned").await? == before, "the pods changed");
        await_note(ns, "from the schema").await?;

        ns.patch_plugin("tuned", json!({"metadata": {"labels": {"team": "shop"}}})).await?;
        ns.patch_plugin("tuned", json!({"spec": {"suspend": true}})).await?;
        ns.await_plugin("tuned", "to be stopped", seconds(60), in_state(PluginState::Stopped)).await?;
        let mended = json!({"spec": {"suspend": false, "config": {"note": "mended"}}});
        ns.patch_plugin("tuned", mended).await?;
        ns.await_plugin("tuned", "to be ready again", seconds(60), started).await?;
        await_note(ns, "mended").await
    })
    .await;
}

/// The schema of another, which is not a reason to deny.
#[tokio::test]
async fn a_configuration_that_does_not_fit_what_the_image_announced_is_held_and_the_old_serves() {
    run("a_configuration_is_judged_by_the_announced_schema", async |ns| {
        ns.apply(&plugin("announcing")).await?;
        let announced = |plugin: &Plugin| {
            let schema = plugin.status.as_ref().and_then(|status| status.config_schema.as_ref());
            schema
                .is_some_and(|schema| schema.image == plugin.spec.image && schema.schema.contains("exitCode"))
        };
        let known = |plugin: &Plugin| started(plugin) && announced(plugin);
        ns.await_plugin("announcing", "to announce its schema", seconds(60), known).await?;
        let before = pods(ns, "announcing").await?;

        ns.apply(&plugin("announcing").config("exitCode", 256)).await?;
        let held = has_reason("Ready", "ConfigInvalid");
        let held = ns.await_plugin("announcing", "to be held", seconds(30), held).await?;
        let verdict = condition(&held, "ConfigValid").context("a verdict")?;
        ensure!(verdict.message == "/exitCode: must be at most 255, found 256", "{verdict:?}");
        ensure!(has_condition("ConfigValid", "False")(&held) && has_condition("Stalled", "True")(&held));
        let message = &condition(&held, "Ready").context("Ready")?.message;
        ensure!(message.ends_with("what ran before serves on"), "{message}");
        ensure!(in_state(PluginState::Started)(&held), "{:?}", held.status);
        ensure!(pods(ns, "announcing").await? == before, "the pods changed");

        ns.apply(&plugin("announcing").config("exitCode", 255)).await?;
        let mended = ns.await_plugin("announcing", "to be ready again", seconds(60), started).await?;
        ensure!(has_condition("ConfigValid", "True")(&mended), "{:?}", mended.status);
        Ok(())
    })
    .await;
}
