//! Hooks of plugins, and plugins that are started by hand. A plugin keeps which hooks have called it.

use anyhow::{Context, Result, ensure};
use forward_crds::{HookName, HookOutcome, Plugin, PluginState};
use forward_tests::{
    PluginBuilder, TestNamespace, await_until, condition, has_reason, in_state, plugin, run, seconds, started,
};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Has an image that ends by itself: `busybox` with these arguments.
fn busybox(args: &[&str]) -> Value {
    let command: Vec<_> = ["/bin/busybox"].iter().chain(args).collect();
    json!({"job": {"image": "forward.local/busybox:1.0.0", "command": command}, "timeout": "60s"})
}

fn call() -> Value {
    json!({"http": {"service": "recorder", "path": "/hooks"}})
}

fn hooked(hooks: Value) -> PluginBuilder {
    plugin("hooked").set("hooks", hooks)
}

/// Have the plugin that keeps calls run.
async fn record(ns: &TestNamespace) -> Result<()> {
    ns.apply(&plugin("recorder")).await?;
    ns.await_plugin("recorder", "to start", seconds(60), started).await?;
    ns.cluster.gateway()?.await_status(&ns.path("recorder"), 200, seconds(20)).await.map(drop)
}

/// Wait until these hooks of `hooked` and no others have called, in this order.
async fn await_calls(ns: &TestNamespace, hooks: &[&str]) -> Result<()> {
    let expected: Vec<_> = hooks.iter().map(|hook| format!("hooked {hook}")).collect();
    await_until(&format!("the calls {expected:?}"), seconds(60), async || {
        let path = format!("{}hooks", ns.path("recorder"));
        let calls: Vec<String> = ns.cluster.gateway()?.get(&path).await?.json()?;
        ensure!(calls == expected, "{calls:?}");
        Ok(())
    })
    .await
}

fn outcome(plugin: &Plugin, hook: HookName) -> Option<HookOutcome> {
    let hooks = &plugin.status.as_ref()?.hooks;
    hooks.iter().find(|record| record.hook == hook).map(|record| record.outcome)
}

async fn jobs(ns: &TestNamespace, hook: &str) -> Result<Vec<Job>> {
    let params =
        ListParams::default().labels(&format!("goforward.dev/plugin=hooked,goforward.dev/hook={hook}"));
    Ok(ns.api::<Job>().list(&params).await?.items)
}

fn message(plugin: &Plugin) -> &str {
    condition(plugin, "Ready").map_or("", |ready| ready.message.as_str())
}

#[tokio::test]
async fn all_hooks_call_once_in_the_order_of_a_life() {
    run("hooks_in_order", async |ns| {
        record(ns).await?;
        let hooks: Value = HookName::ALL.iter().map(|hook| (hook.as_str().to_owned(), call())).collect();
        ns.apply(&hooked(hooks.clone())).await?;
        ns.await_plugin("hooked", "to start", seconds(90), started).await?;
        let up =
            ["beforeLoad", "afterLoad", "beforeInitialize", "afterInitialize", "beforeStart", "afterStart"];
        await_calls(ns, &up).await?;
        // How many pods there are is no reason to run them, and a pod more waits for nothing.
        ns.apply(&hooked(hooks).replicas(2)).await?;
        ns.await_plugin("hooked", "to have two pods", seconds(60), |plugin| {
            started(plugin) && plugin.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2))
        })
        .await?;
        await_calls(ns, &up).await?;
        ns.delete_plugin("hooked").await?;
        ns.await_plugin_gone("hooked", seconds(90)).await?;
        let all: Vec<_> = up.iter().copied().chain(["beforeStop", "afterStop"]).collect();
        await_calls(ns, &all).await
    })
    .await;
}

#[tokio::test]
async fn a_job_comes_before_the_pods_and_a_call_after_them() {
    run("hooks_job_and_call", async |ns| {
        record(ns).await?;
        ns.apply(&hooked(json!({"beforeLoad": busybox(&["true"]), "afterStart": call()}))).await?;
        let plugin = ns.await_plugin("hooked", "to start", seconds(120), started).await?;
        for hook in [HookName::BeforeLoad, HookName::AfterStart] {
            ensure!(outcome(&plugin, hook) == Some(HookOutcome::Succeeded), "{:?}", plugin.status);
        }
        await_calls(ns, &["afterStart"]).await?;
        let jobs = jobs(ns, "beforeLoad").await?;
        ensure!(jobs.len() == 1, "{jobs:?}");
        let done = jobs[0].status.as_ref().and_then(|status| status.completion_time.clone());
        let deployment = ns.api::<Deployment>().get("hooked").await?;
        let made = deployment.metadata.creation_timestamp.context("it has a time")?;
        ensure!(done.context("it is done")?.0 <= made.0, "the pods came before the Job's end");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_failed_job_holds_an_update_and_the_old_version_serves() {
    run("hooks_failed_job", async |ns| {
        ns.apply(&plugin("hooked")).await?;
        ns.await_plugin("hooked", "to start", seconds(60), started).await?;
        let failing = |policy: &str| {
            let mut hook = busybox(&["sh", "-c", "exit 3"]);
            hook["failurePolicy"] = policy.into();
            let next = hooked(json!({"beforeLoad": hook})).version("1.1.0");
            next.image("forward.local/testbed:1.1.0")
        };
        ns.apply(&failing("Abort")).await?;
        let held = has_reason("Stalled", "HookFailed");
        let plugin = ns.await_plugin("hooked", "to be held", seconds(90), held).await?;
        let text = message(&plugin);
        ensure!(text.contains("beforeLoad failed: exited with code 3"), "{text}");
        ensure!(text.ends_with("1.0.0 serves on") && in_state(PluginState::Started)(&plugin), "{text}");
        let answer: Value = ns.cluster.gateway()?.get(&ns.path("hooked")).await?.json()?;
        ensure!(answer["version"] == "1.0.0", "{answer}");
        ns.apply(&failing("Continue")).await?;
        let plugin = ns.await_plugin("hooked", "to go on", seconds(120), started).await?;
        ensure!(outcome(&plugin, HookName::BeforeLoad) == Some(HookOutcome::Failed), "{:?}", plugin.status);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pods_stay_until_the_hook_before_their_end_is_over() {
    run("hooks_before_stop", async |ns| {
        record(ns).await?;
        let hooks = json!({"beforeStop": busybox(&["sleep", "5"]), "afterStop": call()});
        ns.apply(&hooked(hooks.clone())).await?;
        ns.await_plugin("hooked", "to start", seconds(60), started).await?;
        ns.apply(&hooked(hooks).set("suspend", true)).await?;
        let waits = has_reason("Ready", "HookRunning");
        let plugin = ns.await_plugin("hooked", "to wait for its hook", seconds(30), waits).await?;
        ensure!(in_state(PluginState::Started)(&plugin), "{:?}", plugin.status);
        let replicas = ns.api::<Deployment>().get("hooked").await?.spec.and_then(|spec| spec.replicas);
        ensure!(replicas == Some(1), "{replicas:?} pods are wanted");
        let stopped = has_reason("Ready", "Suspended");
        let plugin = ns.await_plugin("hooked", "to be stopped", seconds(90), stopped).await?;
        for hook in [HookName::BeforeStop, HookName::AfterStop] {
            ensure!(outcome(&plugin, hook) == Some(HookOutcome::Succeeded), "{:?}", plugin.status);
        }
        await_calls(ns, &["afterStop"]).await
    })
    .await;
}

#[tokio::test]
async fn a_crash_calls_the_hook_for_errors() {
    run("hooks_on_error", async |ns| {
        record(ns).await?;
        ns.apply(&hooked(json!({"onError": call()})).config("failStart", "as configured")).await?;
        ns.await_plugin("hooked", "to fail", seconds(60), in_state(PluginState::Error)).await?;
        await_until("a call", seconds(30), async || {
            let path = format!("{}hooks", ns.path("recorder"));
            let calls: Vec<String> = ns.cluster.gateway()?.get(&path).await?.json()?;
            ensure!(calls.first().is_some_and(|call| call == "hooked onError"), "{calls:?}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_does_not_start_by_itself_waits_for_the_annotation() {
    run("hooks_auto_start", async |ns| {
        ns.apply(&plugin("by-hand").set("autoStart", false)).await?;
        let waits = has_reason("Ready", "WaitsForStart");
        let plugin = ns.await_plugin("by-hand", "to wait", seconds(60), waits).await?;
        ensure!(in_state(PluginState::Initialized)(&plugin), "{:?}", plugin.status);
        let answer = ns.cluster.gateway()?.get(&ns.path("by-hand")).await?;
        ensure!(answer.status != 200, "it serves");
        ns.patch_plugin("by-hand", json!({"metadata": {"annotations": {"goforward.dev/start": "true"}}}))
            .await?;
        ns.await_plugin("by-hand", "to start", seconds(60), started).await?;
        ns.cluster.gateway()?.await_status(&ns.path("by-hand"), 200, seconds(20)).await?;
        ns.patch_plugin("by-hand", json!({"metadata": {"annotations": {"goforward.dev/start": null}}}))
            .await?;
        let answer = ns.cluster.gateway()?.get(&ns.path("by-hand")).await?;
        ensure!(answer.status == 200, "it answers with {}", answer.status);
        Ok(())
    })
    .await;
}
