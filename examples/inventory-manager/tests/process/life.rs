//! Starting, health and metrics.

use serde_json::{Value, json};

use crate::world::World;

#[test]
fn pods_that_start_together_make_the_tables_and_the_items_once() {
    let world = World::new("together");
    let items = json!([{"sku": "mug", "name": "Mug", "price": 5, "on_hand": 7}]);
    let world = world.with("items", items);
    let plugins: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| world.plugin())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for plugin in plugins {
        assert_eq!(plugin.counts("mug"), [7, 0, 7]);
    }
}

#[test]
fn the_manifest_configures_it() {
    let manifest: Value = serde_saphyr::from_str(include_str!("../../plugin.yaml")).unwrap();
    let mut world = World::new("manifest");
    for (field, value) in manifest["spec"]["config"].as_object().unwrap() {
        world = world.with(field, value.clone());
    }
    let list = world.plugin().get("/items").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 8);
}

#[test]
fn tells_what_is_wrong_with_its_configuration() {
    let world = World::new("bad_config");
    let bad = json!([{"sku": "a mug", "name": "Mug", "price": -5, "on_hand": 7}]);
    let message = world.with("items", bad).failure();
    assert!(
        message.contains("/items/0/price: must be from 0 to 1000000000; /items/0/sku: must be"),
        "{message}"
    );
    let message = World::over("mysql://forward@localhost".to_owned()).failure();
    assert!(message.contains("/database_url"), "{message}");
}

#[test]
fn refuses_another_currency_than_the_stock_is_priced_in() {
    let world = World::new("currency");
    world.plugin().stock("mug", 1);
    let message = world.with("currency", json!("EUR")).failure();
    assert!(message.contains("/currency: \"EUR\" is not what the price of \"mug\" is in"), "{message}");
}

#[test]
fn counts_what_becomes_of_wishes_and_tells_its_health() {
    let plugin = World::new("counted").plugin();
    plugin.stock("mug", 3);
    plugin.reserve("a", &[("mug", 1)]);
    plugin.reserve("a", &[("mug", 1)]);
    plugin.reserve("a", &[("mug", 2)]);
    plugin.reserve("b", &[("mug", 3)]);
    plugin.reserve("c", &[("mug", 1)]);
    plugin.commit("a");
    plugin.commit("a");
    plugin.release("c");
    for outcome in
        ["reserved 2", "replayed 1", "refused 1", "insufficient_stock 1", "committed 1", "released 1"]
    {
        let (outcome, count) = outcome.split_once(' ').unwrap();
        let name = format!("inventory_reservations_total{{outcome=\"{outcome}\"}}");
        assert_eq!(plugin.metric(&name).as_deref(), Some(count), "{outcome}");
    }
    let (healthy, health) = plugin.health();
    assert!(healthy);
    for fact in ["items", "units_on_hand", "units_reserved", "active_reservations", "database_milliseconds"] {
        assert!(health.details.contains_key(fact), "{fact}");
    }
}
