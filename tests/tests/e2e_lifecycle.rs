//! What a PluginSystem limits, and how plugins are started anew.

use anyhow::{Context, Result, ensure};
use forward_crds::{Plugin, PluginState};
use forward_tests::{
    FIELD_MANAGER, Mark, TestNamespace, condition, has_condition, has_reason, in_state, plugin, ready, run,
    seconds, started,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Make the namespace's settings these and no others.
async fn configure(ns: &TestNamespace, spec: Value) -> Result<()> {
    let system = json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "PluginSystem",
        "metadata": {"name": "default"},
        "spec": spec,
    });
    ns.apply_as(FIELD_MANAGER, &system).await.map(drop)
}

async fn await_started(ns: &TestNamespace, names: &[&str]) -> Result<()> {
    for name in names {
        ns.await_plugin(name, "to be ready", seconds(90), started).await?;
    }
    Ok(())
}

/// The Deployments that the operator wrote or deleted since then, in this order, each once in a row.
async fn written(ns: &TestNamespace, mark: Mark, is_delete: bool) -> Result<Vec<String>> {
    let writes = ns.cluster.audit()?.since(mark, &ns.name)?;
    let mut names: Vec<_> = writes
        .into_iter()
        .filter(|write| write.on("deployments") && write.by_account("forward-operator") && write.succeeded())
        .filter(|write| (write.verb == "delete") == is_delete)
        .map(|write| write.object_ref.name)
        .collect();
    names.dedup();
    Ok(names)
}

fn message(plugin: &Plugin) -> &str {
    condition(plugin, "Ready").map_or("", |ready| ready.message.as_str())
}

#[tokio::test]
async fn a_namespace_is_switched_off_from_the_top_and_on_from_the_bottom() {
    run("a_namespace_is_switched_off_from_the_top_and_on_from_the_bottom", async |ns| {
        ns.apply(&plugin("a")).await?;
        ns.apply(&plugin("b").needs("a")).await?;
        ns.apply(&plugin("c").needs("b")).await?;
        await_started(ns, &["a", "b", "c"]).await?;
        let mark = ns.cluster.audit()?.mark()?;
        configure(ns, json!({"enabled": false})).await?;
        for name in ["c", "b", "a"] {
            let off = has_reason("Ready", "SystemDisabled");
            let plugin = ns.await_plugin(name, "to be off", seconds(90), off).await?;
            ensure!(in_state(PluginState::Unloaded)(&plugin) && ready(&plugin), "{:?}", plugin.status);
        }
        let order = written(ns, mark, true).await?;
        ensure!(order == ["c", "b", "a"], "they went in the order {order:?}");
        let mark = ns.cluster.audit()?.mark()?;
        configure(ns, json!({"enabled": true})).await?;
        await_started(ns, &["a", "b", "c"]).await?;
        let order = written(ns, mark, false).await?;
        ensure!(order == ["a", "b", "c"], "they came in the order {order:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_place_that_gets_free_is_that_of_the_next_in_age() {
    run("a_place_that_gets_free_is_that_of_the_next_in_age", async |ns| {
        configure(ns, json!({"maxPlugins": 2})).await?;
        // Where two were made in the same second their names decide.
        for name in ["p1", "p2", "p3", "p4"] {
            ns.apply(&plugin(name)).await?;
        }
        await_started(ns, &["p1", "p2"]).await?;
        for (name, rank) in [("p3", "number 3"), ("p4", "number 4")] {
            let surplus = has_reason("Ready", "TooManyPlugins");
            let held = ns.await_plugin(name, "to be one too many", seconds(30), surplus).await?;
            ensure!(message(&held).contains(rank) && message(&held).contains("is 2"), "{}", message(&held));
        }
        ns.delete_plugin("p1").await?;
        await_started(ns, &["p3"]).await?;
        let held = ns.plugin("p4").await?;
        ensure!(has_reason("Ready", "TooManyPlugins")(&held), "{}", message(&held));
        // A lower limit stops nobody.
        configure(ns, json!({"maxPlugins": 1})).await?;
        let told = |plugin: &Plugin| message(plugin).contains("is 1");
        ns.await_plugin("p4", "to hear of the new limit", seconds(30), told).await?;
        await_started(ns, &["p2", "p3"]).await
    })
    .await;
}

#[tokio::test]
async fn an_image_from_elsewhere_is_held_and_the_old_one_serves() {
    run("an_image_from_elsewhere_is_held_and_the_old_one_serves", async |ns| {
        configure(ns, json!({"imagePrefixes": ["forward.local/testbed"]})).await?;
        ns.apply(&plugin("good")).await?;
        ns.apply(&plugin("bad").image("forward.local/testbed-evil:1.0.0")).await?;
        await_started(ns, &["good"]).await?;
        let held = has_reason("Accepted", "ImageNotAllowed");
        let bad = ns.await_plugin("bad", "to be held", seconds(30), &held).await?;
        ensure!(message(&bad).contains("testbed-evil") && in_state(PluginState::Unloaded)(&bad));
        ns.apply(&plugin("good").version("1.1.0").image("forward.local/testbed-evil:1.1.0")).await?;
        let good = ns.await_plugin("good", "to be held", seconds(30), &held).await?;
        ensure!(message(&good).ends_with("1.0.0 serves on"), "{}", message(&good));
        let answer = ns.cluster.gateway()?.get(&ns.path("good")).await?;
        ensure!(answer.status == 200, "it answers with {}", answer.status);
        configure(ns, json!({"imagePrefixes": ["forward.local"]})).await?;
        let allowed = has_condition("Accepted", "True");
        ns.await_plugin("bad", "to be let go", seconds(30), allowed).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_begins_anew_where_a_process_ends_again_and_again() {
    run("a_restart_begins_anew_where_a_process_ends_again_and_again", async |ns| {
        let map = |delay: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "delays"},
                   "data": {"initialize": delay}})
        };
        // Not a duration: it fails to read its configuration.
        ns.apply_as(FIELD_MANAGER, &map("soon")).await?;
        let key = json!({"name": "delays", "key": "initialize"});
        let from = json!([{"path": "/initializeDelay", "configMapKeyRef": key}]);
        ns.apply(&plugin("failing").set("configFrom", from)).await?;
        let stalled = has_condition("Stalled", "True");
        ns.await_plugin("failing", "to be stalled", seconds(150), stalled).await?;
        let before = pods(ns, "failing").await?;
        // What it fails for is no part of its spec.
        ns.apply_as(FIELD_MANAGER, &map("1ms")).await?;
        let restart = json!({"metadata": {"annotations": {"goforward.dev/restart": "now"}}});
        ns.patch_plugin("failing", restart).await?;
        ns.await_plugin("failing", "to be ready", seconds(60), started).await?;
        let after = pods(ns, "failing").await?;
        ensure!(before.iter().all(|pod| !after.contains(pod)), "{before:?} were kept among {after:?}");
        Ok(())
    })
    .await;
}

/// The names of a plugin's pods that are not going.
async fn pods(ns: &TestNamespace, plugin: &str) -> Result<Vec<Option<String>>> {
    let params = ListParams::default().labels(&format!("goforward.dev/plugin={plugin}"));
    let pods = ns.api::<Pod>().list(&params).await?;
    let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    Ok(pods.items.into_iter().filter(stays).map(|pod| pod.metadata.name).collect())
}

#[tokio::test]
async fn an_edit_of_the_settings_rolls_those_whom_it_changes() {
    run("an_edit_of_the_settings_rolls_those_whom_it_changes", async |ns| {
        let own = json!({"memory": "64Mi", "cpu": "100m", "timeout": "20s"});
        ns.apply(&plugin("own").set("sandbox", own)).await?;
        ns.apply(&plugin("inherits")).await?;
        await_started(ns, &["own", "inherits"]).await?;
        let mark = ns.cluster.audit()?.mark()?;
        let limits = json!({"maxPlugins": 9, "maxConcurrentRollouts": 7, "imagePrefixes": ["forward.local"]});
        configure(ns, limits).await?;
        configure(ns, json!({"timeout": "45s", "sandbox": {"memory": "80Mi"}})).await?;
        let rolled = |deployment: Option<&Deployment>| {
            let annotations = deployment.and_then(|deployment| deployment.metadata.annotations.as_ref());
            let revision = annotations.and_then(|all| all.get("goforward.dev/revision"));
            revision.is_some_and(|revision| revision.ends_with("-timeout=45s"))
        };
        ns.await_object::<Deployment>("inherits", "to inherit the timeout", seconds(30), rolled).await?;
        await_started(ns, &["inherits", "own"]).await?;
        let names = written(ns, mark, false).await?;
        ensure!(names == ["inherits"], "written: {names:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_loses_an_optional_dependency_is_degraded_and_ready() {
    run("what_loses_an_optional_dependency_is_degraded_and_ready", async |ns| {
        ns.apply(&plugin("cache")).await?;
        ns.apply(&plugin("web").uses("cache")).await?;
        await_started(ns, &["cache", "web"]).await?;
        ns.delete_plugin("cache").await?;
        let lost = has_reason("Degraded", "OptionalDependencyLost");
        let web = ns.await_plugin("web", "to miss the cache", seconds(60), lost).await?;
        ensure!(started(&web), "{:?}", web.status);
        let status = web.status.context("a status")?;
        let timings = status.timings.context("timings")?;
        ensure!(timings.initialize.is_some() && timings.start.is_some(), "{timings:?}");
        ensure!(status.state_time.is_some(), "no time of its state");
        // Until it is gone, applying it changes what is going.
        ns.await_plugin_gone("cache", seconds(60)).await?;
        ns.apply(&plugin("cache")).await?;
        let back = has_reason("Degraded", "NotDegraded");
        ns.await_plugin("web", "to have it again", seconds(60), back).await?;
        Ok(())
    })
    .await;
}
