//! Twelve plugins that are brought up, over to something else, and down.

use std::time::Duration;

use anyhow::{Result, bail};
use forward_tests::{PluginBuilder, await_until, plugin, seconds};
use serde_json::json;

use crate::{
    call::Call,
    site::Site,
    state::{State, count_pods},
};

/// How long the scenario's parts may take where nothing goes wrong.
const UNDISTURBED: Duration = seconds(60);

/// What there is after each part, where nothing goes wrong.
#[derive(Clone, Debug)]
pub struct Course {
    /// All plugins are up.
    pub up: State,
    /// Some have another version or configuration; one is held.
    pub over: State,
    /// The writes that all three parts took.
    pub steps: Vec<Call>,
}

/// The twelve, five deep: an optional dependency that is there and one that is not, one that takes
/// configurations while it runs, two with several pods.
fn twelve() -> Vec<PluginBuilder> {
    vec![
        named("store"),
        named("cache"),
        named("queue"),
        named("auth").needs("store"),
        named("catalog").needs_version("store", "^1.0").uses("cache"),
        named("cart").needs("catalog").needs("auth"),
        named("payments").needs("auth").replicas(2),
        named("orders").needs("cart").needs("payments").needs_version("queue", "^1.0"),
        named("mail").needs("cache").set("reload", "InPlace"),
        named("search").needs_version("catalog", "^1.0").uses("absent").replicas(2),
        named("audit").needs("mail").priority(5),
        named("web").needs("orders").needs("search").set("info", json!({"author": "the tests"})),
    ]
}

/// A plugin whose configuration does not hang on the name of the namespace.
fn named(name: &str) -> PluginBuilder {
    plugin(name).config("prefix", format!("/{name}/"))
}

/// What comes after them: a new version below, a new configuration above it, one that is taken in
/// place, and a version that is refused.
fn changes() -> Vec<PluginBuilder> {
    vec![
        named("store").version("1.1.0").image("forward.local/testbed:1.1.0"),
        named("catalog").needs_version("store", "^1.0").uses("cache").config("note", "changed"),
        named("mail").needs("cache").set("reload", "InPlace").config("note", "changed"),
        named("queue").version("2.0.0").image("forward.local/testbed:2.0.0"),
    ]
}

/// Apply the twelve, those that need others first.
pub async fn bring_up(site: &Site<'_>) -> Result<()> {
    for plugin in twelve().iter().rev() {
        site.namespace.apply(plugin).await?;
    }
    Ok(())
}

/// Apply the changes.
pub async fn bring_over(site: &Site<'_>) -> Result<()> {
    for plugin in &changes() {
        site.namespace.apply(plugin).await?;
    }
    Ok(())
}

/// Delete the twelve in the wrong order: first what the others need.
pub async fn bring_down(site: &Site<'_>) -> Result<()> {
    for plugin in &twelve() {
        site.namespace.delete_plugin(plugin.name()).await?;
    }
    Ok(())
}

/// Wait until nothing of the plugins is left, pods included.
pub async fn await_down(site: &Site<'_>, bound: Duration) -> Result<()> {
    site.await_state("nothing to be left", &State::default(), bound).await?;
    await_until("the pods to be gone", bound, async || match count_pods(site.namespace).await? {
        0 => Ok(()),
        left => bail!("{left} pods are left"),
    })
    .await
}

/// Go through all three parts with nothing going wrong, and see what there is after each.
pub async fn undisturbed(site: &Site<'_>) -> Result<Course> {
    let from = site.proxy.count();
    bring_up(site).await?;
    let up = settle_with(site, "all to be up", |state| count(state, "Ready") == 12).await?;
    bring_over(site).await?;
    let over = settle_with(site, "all but one to be over", |state| {
        count(state, "Ready") == 11 && count(state, "DependentsRefuse") == 1
    })
    .await?;
    bring_down(site).await?;
    await_down(site, UNDISTURBED).await?;
    site.check_order()?;
    Ok(Course { up, over, steps: site.proxy.steps(from) })
}

/// Wait until `done` says so and nothing is written any more.
async fn settle_with(site: &Site<'_>, what: &str, done: impl Fn(&State) -> bool) -> Result<State> {
    await_until(what, UNDISTURBED, async || {
        let state = site.settle(UNDISTURBED).await?;
        if done(&state) { Ok(state) } else { bail!("{:?}", state.reasons()) }
    })
    .await
}

/// How many plugins have a reason in their condition Ready.
fn count(state: &State, reason: &str) -> usize {
    state.reasons().values().filter(|found| **found == reason).count()
}

/// Go through all three parts, and compare what there is after each. `bound` is for each of them.
pub async fn same_as(site: &Site<'_>, course: &Course, bound: Duration) -> Result<()> {
    bring_up(site).await?;
    site.await_state("all to be up", &course.up, bound).await?;
    bring_over(site).await?;
    site.await_state("some to be over", &course.over, bound).await?;
    bring_down(site).await?;
    await_down(site, bound).await?;
    site.check_order()
}
