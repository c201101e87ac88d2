//! The shop under orders, with its parts going away: neither money nor stock comes out wrong.

use std::fs;

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    TestNamespace, await_until, run, seconds,
    shop::{Orders, PLUGINS, Shop, Tally},
    started,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// One shop at a time: the traffic of one would slow the other down.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Orders a second.
const RATE: u32 = 20;

/// The processes of a plugin, as the machine that the cluster runs on sees them.
fn processes(shop: &Shop<'_>, plugin: &str) -> Result<Vec<Pid>> {
    let is = |environment: &[u8], name: &str, value: &str| {
        let wanted = format!("{name}={value}");
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        // Most of it is no process, and a process may end meanwhile.
        let Ok(environment) = fs::read(process.join("environ")) else { continue };
        if is(&environment, "GOFORWARD_PLUGIN_NAME", plugin)
            && is(&environment, "GOFORWARD_PLUGIN_NAMESPACE", &shop.ns.name)
        {
            let id = process.file_name().and_then(|id| id.to_str()).context("a process's id")?;
            found.push(Pid::from_raw(id.parse()?));
        }
    }
    Ok(found)
}

/// Wait until so many orders more than now have come to an end, whatever the end.
async fn await_orders(shop: &Shop<'_>, more: usize) -> Result<()> {
    let settled = async || -> Result<usize> {
        let books = shop.books().await?;
        Ok(books.orders_with("completed") + books.orders_with("rejected"))
    };
    let now = await_until("the books", seconds(30), settled).await?;
    await_until("more orders", seconds(60), async || {
        let count = settled().await?;
        ensure!(count >= now + more, "{count} orders have come to an end, {now} had");
        Ok(())
    })
    .await
}

/// Wait until every order has come to its end, and look whether all is right.
async fn await_right_books(shop: &Shop<'_>, before: &forward_tests::shop::Books) -> Result<()> {
    await_until("the last order to come to its end", seconds(60), async || {
        let pending = shop.books().await?.orders_with("pending");
        ensure!(pending == 0, "{pending} orders are pending");
        Ok(())
    })
    .await?;
    shop.books().await?.check(before)
}

/// The plugins that have a program of ours, and so state that could go wrong.
fn with_state() -> impl Iterator<Item = &'static str> {
    PLUGINS.into_iter().filter(|name| *name != "static-site")
}

/// Do something to a shop while customers order, and look at the books afterwards; what became of
/// the customers is for the test to judge.
async fn under_orders(shop: &Shop<'_>, work: impl AsyncFnOnce() -> Result<()>) -> Result<Tally> {
    let before = shop.books().await?;
    let orders = Orders::start(shop, RATE).await?;
    work().await?;
    let tally = orders.stop().await?;
    await_right_books(shop, &before).await.with_context(|| tally.to_string())?;
    Ok(tally)
}

/// Lose each of some plugins in turn while customers order.
async fn lose_each(
    ns: &TestNamespace,
    names: impl Iterator<Item = &'static str>,
    lose: impl AsyncFn(&Shop<'_>, &str) -> Result<()>,
) -> Result<()> {
    let shop = Shop::open(ns).await?;
    let tally = under_orders(&shop, async || {
        for name in names {
            await_orders(&shop, 10).await?;
            lose(&shop, name).await?;
            ns.await_plugin(name, "to notice", seconds(30), |plugin| !started(plugin)).await?;
            ns.await_plugin(name, "to be ready again", seconds(60), started).await?;
        }
        Ok(())
    });
    tally.await?.check_busy(60)
}

#[tokio::test]
async fn a_plugin_that_is_killed_costs_neither_money_nor_stock() {
    let _alone = ALONE.lock().await;
    run("a_plugin_that_is_killed_costs_neither_money_nor_stock", async |ns| {
        lose_each(ns, with_state(), async |shop, name| {
            // As the kernel does when memory is short: no signal that it could listen to.
            let processes = processes(shop, name)?;
            ensure!(!processes.is_empty(), "{name} has no process");
            processes.into_iter().try_for_each(|process| Ok(kill(process, Signal::SIGKILL)?))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_vanishes_costs_neither_money_nor_stock() {
    let _alone = ALONE.lock().await;
    run("a_pod_that_vanishes_costs_neither_money_nor_stock", async |ns| {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        lose_each(ns, PLUGINS.into_iter(), async |shop, name| {
            let pods = ListParams::default().labels(&format!("goforward.dev/plugin={name}"));
            shop.ns.api::<Pod>().delete_collection(&at_once, &pods).await?;
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn analytics_goes_and_comes_back_without_a_failed_order() {
    let _alone = ALONE.lock().await;
    run("analytics_goes_and_comes_back_without_a_failed_order", async |ns| {
        let shop = Shop::open(ns).await?;
        let analytics = ns.plugin("analytics-tracker").await?;
        let tally = under_orders(&shop, async || {
            await_orders(&shop, 20).await?;
            ns.delete_plugin("analytics-tracker").await?;
            ns.await_plugin_gone("analytics-tracker", seconds(60)).await?;
            await_orders(&shop, 40).await?;
            let again = json!({
                "apiVersion": "goforward.dev/v1alpha1",
                "kind": "Plugin",
                "metadata": {"name": "analytics-tracker"},
                "spec": analytics.spec,
            });
            ns.apply_as(forward_tests::FIELD_MANAGER, &again).await?;
            ns.await_plugin("analytics-tracker", "to be ready again", seconds(60), started).await?;
            await_orders(&shop, 20).await
        });
        let tally = tally.await?;
        tally.check_smooth()?;
        tally.check_busy(60)?;
        await_tracked(&shop).await
    })
    .await;
}

/// Every completed order is known to analytics, also those from when it was away.
async fn await_tracked(shop: &Shop<'_>) -> Result<()> {
    let count = json!({"event_type": "order_completed", "aggregates": [{"function": "count"}]});
    await_until("analytics to know of every order", seconds(60), async || {
        let completed = shop.books().await?.orders_with("completed");
        let answer = shop.counter().send("POST", "/api/analytics/query", &[], Some(&count)).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        let body: Value = answer.json()?;
        let values = body["groups"][0]["values"].as_object().context("one group")?;
        let known = values.values().next().and_then(Value::as_f64).context("a count")?;
        ensure!(known as usize == completed, "it knows of {known} of {completed}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn all_are_upgraded_at_once_without_a_failed_request() {
    let _alone = ALONE.lock().await;
    run("all_are_upgraded_at_once_without_a_failed_request", async |ns| {
        let shop = Shop::open(ns).await?;
        let tally = under_orders(&shop, async || {
            await_orders(&shop, 20).await?;
            for name in PLUGINS {
                let plugin = ns.plugin(name).await?;
                let version = next(&plugin.spec.version);
                let image = plugin.spec.image.replace(&plugin.spec.version, &version);
                shop.patch(name, json!({"version": version, "image": image})).await?;
            }
            for name in PLUGINS {
                let updated = |plugin: &Plugin| {
                    let status = plugin.status.as_ref();
                    started(plugin)
                        && status.and_then(|it| it.version.as_deref()) == Some(&plugin.spec.version)
                };
                ns.await_plugin(name, "to be upgraded", seconds(150), updated).await?;
            }
            await_orders(&shop, 20).await
        });
        let tally = tally.await?;
        tally.check_smooth()?;
        tally.check_busy(60)
    })
    .await;
}

/// The next patch release.
fn next(version: &str) -> String {
    let (front, patch) = version.rsplit_once('.').expect("a version has three numbers");
    format!("{front}.{}", patch.parse::<u32>().expect("the last one is a number") + 1)
}

#[tokio::test]
async fn a_payment_plugin_with_a_bad_configuration_costs_no_order() {
    let _alone = ALONE.lock().await;
    run("a_payment_plugin_with_a_bad_configuration_costs_no_order", async |ns| {
        let shop = Shop::open(ns).await?;
        let tally = under_orders(&shop, async || {
            await_orders(&shop, 10).await?;
            shop.patch("payment-processor", json!({"config": {"environment": "moon"}})).await?;
            ns.await_plugin("payment-processor", "to say what is wrong", seconds(60), |plugin| {
                let conditions = plugin.status.as_ref().map(|status| status.conditions.as_slice());
                conditions.unwrap_or_default().iter().any(|it| it.message.contains("/environment"))
            })
            .await?;
            await_orders(&shop, 10).await
        });
        tally.await?.check_smooth()
    })
    .await;
}
