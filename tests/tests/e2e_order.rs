//! Order: whatever comes in which order, things start after what they need.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use forward_tests::{
    Entry, PluginBuilder, TestNamespace, condition, has_reason, plugin, run, seconds, started,
};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

/// Ten plugins: a diamond on a chain, two that need nothing, and one that may do without.
fn ten() -> Vec<PluginBuilder> {
    vec![
        plugin("base"),
        plugin("left").needs("base"),
        plugin("right").needs_version("base", "1.0"),
        plugin("top").needs("left").needs("right"),
        plugin("roof").needs_version("top", "^1.0"),
        plugin("alone"),
        plugin("loner").priority(10),
        plugin("guest").uses("loner").uses("absent"),
        plugin("pair-a"),
        plugin("pair-b").needs("pair-a").needs("loner"),
    ]
}

/// An order of `count` things that differs by `seed` and is no order that the names have.
fn shuffled(count: usize, seed: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    let mut state = seed * 7919 + 104_729;
    for last in (1..count).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) % (last + 1));
    }
    order
}

#[tokio::test]
async fn a_shuffled_apply_ends_the_same_and_in_order() {
    run("a_shuffled_apply_ends_the_same_and_in_order", async |ns| {
        let plugins = ten();
        let mark = ns.cluster.audit()?.mark()?;
        let seed = std::process::id() as usize;
        for index in shuffled(plugins.len(), seed) {
            ns.apply(&plugins[index]).await?;
        }
        for plugin in &plugins {
            ns.await_plugin(plugin.name(), "to be ready", seconds(120), started).await?;
        }
        check_order(ns, &plugins, &ns.cluster.audit()?.since(mark, &ns.name)?)
            .await
            .with_context(|| format!("seed {seed}"))
    })
    .await;
}

/// Every Deployment was made after those of what it needs had become available.
async fn check_order(ns: &TestNamespace, plugins: &[PluginBuilder], writes: &[Entry]) -> Result<()> {
    let mut made = BTreeMap::new();
    for (place, write) in writes.iter().enumerate() {
        if write.on("deployments") && write.by_account("forward-operator") && write.succeeded() {
            made.entry(write.object_ref.name.clone()).or_insert((place, write));
        }
    }
    for plugin in plugins {
        let (_, write) = made.get(plugin.name()).with_context(|| format!("{} was made", plugin.name()))?;
        for dependency in plugin.build("").spec.dependencies.iter().filter(|dependency| !dependency.optional)
        {
            let (before, _) = made.get(dependency.name.as_str()).context("its dependency was made")?;
            let (after, _) = made[plugin.name()];
            ensure!(*before < after, "{} was made before {}", plugin.name(), dependency.name);
            let object =
                ns.await_object::<Deployment>(&dependency.name, "to be there", seconds(5), |d| d.is_some());
            let available = available_since(&object.await?.context("a deployment")?)?;
            ensure!(
                available.as_str() <= &write.request_received_timestamp[..available.len()],
                "{} was made at {}, but {} became available at {available}",
                plugin.name(),
                write.request_received_timestamp,
                dependency.name
            );
        }
    }
    Ok(())
}

/// When a Deployment became available, in whole seconds without the zone.
fn available_since(deployment: &Deployment) -> Result<String> {
    let conditions =
        deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let available = conditions.into_iter().find(|condition| condition.type_ == "Available");
    let since = available.and_then(|condition| condition.last_transition_time).context("it is available")?;
    let text = serde_json::to_value(since)?;
    Ok(text.as_str().context("a time")?[..19].to_owned())
}

#[tokio::test]
async fn a_missing_dependency_is_explained_and_then_resolved() {
    run("a_missing_dependency_is_explained_and_then_resolved", async |ns| {
        ns.apply(&plugin("shop").needs_version("stock", "^1.0")).await?;
        let missing = has_reason("DependenciesReady", "DependencyMissing");
        let shop = ns.await_plugin("shop", "to say what is missing", seconds(30), missing).await?;
        let message = &condition(&shop, "DependenciesReady").context("a condition")?.message;
        ensure!(message.contains("stock") && message.contains("^1.0"), "{message}");
        ns.apply(&plugin("stock")).await?;
        ns.await_plugin("shop", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_version_conflict_is_explained_and_then_resolved() {
    run("a_version_conflict_is_explained_and_then_resolved", async |ns| {
        ns.apply(&plugin("stock").version("2.0.0")).await?;
        ns.apply(&plugin("shop").needs_version("stock", "^1.0")).await?;
        let conflict = has_reason("DependenciesReady", "VersionConflict");
        let shop = ns.await_plugin("shop", "to name the conflict", seconds(30), conflict).await?;
        let message = &condition(&shop, "DependenciesReady").context("a condition")?.message;
        ensure!(["stock", "2.0.0", "^1.0"].iter().all(|word| message.contains(word)), "{message}");
        ns.apply(&plugin("shop").needs_version("stock", ">=1.0, <3")).await?;
        ns.await_plugin("shop", "to be ready", seconds(60), started).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_cycle_is_explained_and_then_broken_by_an_edit() {
    run("a_cycle_is_explained_and_then_broken_by_an_edit", async |ns| {
        ns.apply(&plugin("one").needs("two")).await?;
        ns.apply(&plugin("two").needs("three")).await?;
        ns.apply(&plugin("three").needs("one")).await?;
        ns.apply(&plugin("outsider")).await?;
        for name in ["one", "two", "three"] {
            let cycle = has_reason("DependenciesReady", "Cycle");
            let member = ns.await_plugin(name, "to name the cycle", seconds(30), cycle).await?;
            let message = &condition(&member, "DependenciesReady").context("a condition")?.message;
            ensure!(["one", "two", "three"].iter().all(|word| message.contains(word)), "{message}");
        }
        ns.await_plugin("outsider", "to be ready all the same", seconds(60), started).await?;
        ns.apply(&plugin("three")).await?;
        for name in ["three", "two", "one"] {
            ns.await_plugin(name, "to be ready", seconds(60), started).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn rollouts_are_limited_and_go_by_priority() {
    run("rollouts_are_limited_and_go_by_priority", async |ns| {
        let limit = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"maxConcurrentRollouts": 1},
        });
        ns.apply_as("forward-tests", &limit).await?;
        let mark = ns.cluster.audit()?.mark()?;
        // What holds the only place while the others queue up.
        ns.apply(&plugin("first").config("initializeDelay", "4s").priority(100)).await?;
        ns.await_object::<Deployment>("first", "to be made", seconds(30), |d| d.is_some()).await?;
        for (name, priority) in [("low", 1), ("high", 9), ("middle", 5)] {
            ns.apply(&plugin(name).priority(priority)).await?;
        }
        for name in ["first", "high", "middle", "low"] {
            ns.await_plugin(name, "to be ready", seconds(60), started).await?;
        }
        let writes = ns.cluster.audit()?.since(mark, &ns.name)?;
        let mut order: Vec<_> = writes
            .iter()
            .filter(|write| {
                write.on("deployments") && write.by_account("forward-operator") && write.succeeded()
            })
            .map(|write| write.object_ref.name.as_str())
            .collect();
        order.dedup();
        ensure!(order == ["first", "high", "middle", "low"], "{order:?}");
        Ok(())
    })
    .await;
}
