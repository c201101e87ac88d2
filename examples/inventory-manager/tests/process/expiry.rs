//! What becomes of a reservation when its time is over.

use example_testing::{await_that, told};
use serde_json::json;

use crate::world::{Plugin, World, wish};

fn stocked(world: &World) -> Plugin {
    let plugin = world.plugin();
    plugin.stock("mug", 3);
    plugin
}

fn expired() -> (u16, String) {
    (409, "reservation_expired".to_owned())
}

#[test]
fn over_time_is_over_before_anybody_has_come_by() {
    let world = World::new("over_time");
    let plugin = stocked(&world);
    plugin.reserve("late", &[("mug", 3)]);
    assert_eq!(plugin.counts("mug"), [3, 3, 0]);
    world.let_expire("late");

    assert_eq!(plugin.get("/reservations/late").json()["status"], "expired");
    assert_eq!(plugin.counts("mug"), [3, 0, 3]);
    assert_eq!(told(&plugin.commit("late")), expired());
    assert_eq!(told(&plugin.reserve("late", &[("mug", 3)])), expired());
    assert_eq!(plugin.reserve("next", &[("mug", 2)]).status, 201);
    assert_eq!(plugin.counts("mug"), [3, 2, 1]);
    // Now it is written down too, and nothing has changed for whoever asks.
    assert_eq!(told(&plugin.commit("late")), expired());
    assert_eq!(plugin.release("late").json()["status"], "expired");
    assert_eq!(plugin.counts("mug"), [3, 2, 1]);
}

#[test]
fn a_shortage_counts_what_is_over_time_as_available() {
    let world = World::new("short_over_time");
    let plugin = stocked(&world);
    plugin.reserve("late", &[("mug", 2)]);
    world.let_expire("late");
    let short = plugin.reserve("next", &[("mug", 4)]).json();
    assert_eq!(short["errors"][0]["detail"], "4 wanted, 3 available");
}

#[test]
fn more_over_time_reservations_than_one_transaction_ends_are_out_of_the_way() {
    let world = World::new("many_over_time");
    let plugin = world.plugin();
    plugin.stock("mug", 150);
    for index in 0..150 {
        let id = format!("late-{index}");
        assert_eq!(plugin.reserve(&id, &[("mug", 1)]).status, 201);
    }
    world.let_all_expire();
    assert_eq!(plugin.reserve("next", &[("mug", 150)]).status, 201);
    assert_eq!(plugin.counts("mug"), [150, 150, 0]);
}

#[test]
fn the_sweep_gives_back_what_nobody_asks_for() {
    let world = World::new("swept").with("expiry_interval", json!("1s"));
    let plugin = stocked(&world);
    let mut short = wish("short", &[("mug", 2)]);
    short["ttl_seconds"] = json!(1);
    assert_eq!(plugin.post("/reservations", &short).status, 201);
    plugin.reserve("long", &[("mug", 1)]);
    let expired = || plugin.metric(r#"inventory_reservations_total{outcome="expired"}"#);
    await_that("the sweep", || expired().is_some_and(|count| count == "1"));
    assert_eq!(plugin.counts("mug"), [3, 1, 2]);
    assert_eq!(plugin.get("/reservations/long").json()["status"], "active");
    await_that("the gauges", || plugin.metric("inventory_active_reservations").as_deref() == Some("1"));
    assert_eq!(plugin.metric(r#"inventory_units{state="reserved"}"#).as_deref(), Some("1"));
    assert_eq!(plugin.metric("inventory_items").as_deref(), Some("1"));
}
