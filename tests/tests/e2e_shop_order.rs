//! The shop's manifests in any order, with any delays between them, lead to the same state.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use anyhow::{Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    FIELD_MANAGER, TestNamespace, await_until, run, seconds,
    shop::{PLUGINS, Shop, manifests},
};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

/// The longest time between two manifests, in milliseconds.
const LONGEST_DELAY: u64 = 1500;

/// The state that the first of the twenty shops came to.
static EXPECTED: Mutex<Option<String>> = Mutex::const_new(None);

/// The same numbers for the same seed (a linear congruential generator, with the constants of
/// Knuth's MMIX), so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.below(last as u64 + 1);
            list.swap(last, usize::try_from(other).expect("it is below a length"));
        }
    }

    async fn pause(&mut self) {
        // The delay is what is tested: nothing is waited for.
        sleep(Duration::from_millis(self.below(LONGEST_DELAY))).await;
    }
}

/// What must be the same in the end: all of a plugin's status but times and health's numbers.
fn settled(plugin: &Plugin) -> Result<Value> {
    let mut status = serde_json::to_value(&plugin.status)?;
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions.iter_mut() {
            for of_this_run in ["lastTransitionTime", "observedGeneration"] {
                condition.as_object_mut().map(|condition| condition.remove(of_this_run));
            }
        }
        // The operator's and the gateway's stand in the order in which the two came first.
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
    let health = json!({"status": status["health"]["status"]});
    let fields = status.as_object_mut();
    if let Some(fields) = fields {
        fields.insert("health".to_owned(), health);
        fields.remove("observedGeneration");
        fields.remove("stateTime");
        fields.remove("timings");
    }
    Ok(status)
}

/// The state that a shop has come to, as YAML in which the namespace has no name.
async fn state(shop: &Shop<'_>) -> Result<String> {
    let mut state = BTreeMap::new();
    for name in PLUGINS {
        let deployment = shop.ns.api::<Deployment>().get(name).await?;
        let mut deployment = serde_json::to_value(deployment.spec)?;
        if let Some(annotations) = deployment["template"]["metadata"]["annotations"].as_object_mut() {
            // Of all that is in the template, the namespace too.
            annotations.remove("goforward.dev/template-hash");
        }
        let made = json!({"status": settled(&shop.ns.plugin(name).await?)?, "deployment": deployment});
        state.insert(name, made);
    }
    Ok(serde_saphyr::to_string(&state)?.replace(&shop.ns.name, "NAMESPACE"))
}

/// Apply the shop in the order, and with the delays, that a seed gives.
async fn round(ns: &TestNamespace, seed: u64) -> Result<()> {
    let shop = Shop::prepare(ns).await?;
    let mut dice = Dice(seed + 1);
    let mut objects = manifests()?;
    dice.shuffle(&mut objects);
    for object in &objects {
        ns.apply_as(FIELD_MANAGER, object).await?;
        dice.pause().await;
    }
    shop.await_open().await?;
    let ordered = order(&shop, seed).await?;
    ensure!(ordered == 201, "an order is answered with {ordered}");
    await_until(&format!("seed {seed} to lead where the others do"), seconds(30), async || {
        for name in PLUGINS {
            nothing_is_outstanding(&ns.plugin(name).await?)?;
        }
        let found = state(&shop).await?;
        let mut expected = EXPECTED.lock().await;
        let expected = expected.get_or_insert_with(|| found.clone());
        ensure!(*expected == found, "it differs from what others led to:\n{}", difference(expected, &found));
        Ok(())
    })
    .await
}

/// A plugin that is Ready may have been so before its last optional dependency was there, or before
/// it was asked how it fares: nothing of that may be outstanding.
fn nothing_is_outstanding(plugin: &Plugin) -> Result<()> {
    let status = plugin.status.clone().unwrap_or_default();
    for type_ in ["Available", "DependenciesReady", "Healthy", "Ready", "Registered"] {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_);
        ensure!(condition.is_some_and(|it| it.status == "True"), "{type_} is not True: {condition:?}");
    }
    let behind = status.dependencies.iter().find(|dependency| !dependency.ready);
    ensure!(behind.is_none(), "a dependency is not ready: {behind:?}");
    Ok(())
}

/// The lines in which two texts differ, with one line around each.
fn difference(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after).unified_diff().context_radius(1).to_string()
}

/// Order one of whatever there is; gives the answer's status.
async fn order(shop: &Shop<'_>, seed: u64) -> Result<u16> {
    let counter = shop.counter();
    let items = counter.list("/api/inventory/items").await?;
    let wish = json!({
        "customer_id": "ada", "payment_method": "card_ok", "items": [{"sku": items[0]["sku"], "quantity": 1}],
    });
    let key = format!("order-{seed}");
    let answer = counter.send("POST", "/api/orders", &[("Idempotency-Key", &key)], Some(&wish)).await?;
    Ok(answer.status.as_u16())
}

/// The rounds of one test, whose seeds follow each other.
async fn rounds(seeds: Range<u64>) {
    for seed in seeds {
        run(&format!("any_order_{seed}"), async |ns| round(ns, seed).await).await;
    }
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_1() {
    rounds(0..5).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_2() {
    rounds(5..10).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_3() {
    rounds(10..15).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_4() {
    rounds(15..20).await;
}
