//! The shop's manifests in any order, with any delays between them, lead to the same state.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    FIELD_MANAGER, TestNamespace, run, seconds,
    shop::{PLUGINS, Shop, manifests},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Secret, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

/// How many shops each test applies, one after the other.
const ROUNDS: u64 = 5;
/// The longest time between two manifests.
const LONGEST_DELAY: u64 = 1500;

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
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        for of_this_run in ["lastTransitionTime", "observedGeneration"] {
            condition.as_object_mut().map(|condition| condition.remove(of_this_run));
        }
    }
    let health = json!({"status": status["health"]["status"]});
    let fields = status.as_object_mut();
    if let Some(fields) = fields {
        fields.insert("health".to_owned(), health);
        fields.remove("observedGeneration");
        fields.remove("timings");
    }
    Ok(status)
}

/// The state that a shop has come to, by plugin.
async fn state(shop: &Shop<'_>) -> Result<BTreeMap<&'static str, Value>> {
    let mut state = BTreeMap::new();
    for name in PLUGINS {
        let deployment = shop.ns.api::<Deployment>().get(name).await?;
        let made = json!({"status": settled(&shop.ns.plugin(name).await?)?, "deployment": deployment.spec});
        state.insert(name, made);
    }
    Ok(state)
}

/// Take everything away, in any order too, until nothing is left.
async fn clear(ns: &TestNamespace, dice: &mut Dice) -> Result<()> {
    let mut names = PLUGINS.to_vec();
    dice.shuffle(&mut names);
    for name in &names {
        ns.delete_plugin(name).await?;
    }
    for name in names {
        ns.await_plugin_gone(name, seconds(90)).await?;
    }
    let all = (DeleteParams::foreground(), ListParams::default());
    ns.api::<Deployment>().delete_collection(&all.0, &all.1).await?;
    ns.await_object::<Deployment>("database", "to be gone", seconds(60), |it| it.is_none()).await?;
    ns.api::<Secret>().delete_collection(&all.0, &all.1).await?;
    let services: Api<Service> = ns.api();
    for service in services.list(&all.1).await? {
        services.delete(&service.name_any(), &all.0).await?;
    }
    Ok(())
}

async fn rounds(ns: &TestNamespace, first_seed: u64) -> Result<()> {
    let shop = Shop::prepare(ns).await?;
    let mut expected = None;
    for seed in first_seed..first_seed + ROUNDS {
        let mut dice = Dice(seed);
        let mut objects = manifests()?;
        dice.shuffle(&mut objects);
        for object in &objects {
            ns.apply_as(FIELD_MANAGER, object).await?;
            dice.pause().await;
        }
        shop.await_open().await?;
        let ordered = order(&shop, seed).await?;
        ensure!(ordered == 201, "seed {seed}: an order is answered with {ordered}");
        let found = state(&shop).await?;
        let expected = expected.get_or_insert_with(|| found.clone());
        ensure!(
            *expected == found,
            "seed {seed} led elsewhere:\n{}\nand not to:\n{}",
            serde_json::to_string_pretty(&found)?,
            serde_json::to_string_pretty(expected)?
        );
        clear(ns, &mut dice).await?;
    }
    Ok(())
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

#[tokio::test]
async fn any_order_leads_to_the_same_state_1() {
    run("any_order_leads_to_the_same_state_1", async |ns| rounds(ns, 100).await).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_2() {
    run("any_order_leads_to_the_same_state_2", async |ns| rounds(ns, 200).await).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_3() {
    run("any_order_leads_to_the_same_state_3", async |ns| rounds(ns, 300).await).await;
}

#[tokio::test]
async fn any_order_leads_to_the_same_state_4() {
    run("any_order_leads_to_the_same_state_4", async |ns| rounds(ns, 400).await).await;
}
