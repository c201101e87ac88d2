//! Items, and the question what is available of them.

use example_testing::{pointers, told};
use serde_json::{Value, json};

use crate::world::{World, items};

fn catalogue(on_hand: i64) -> Value {
    json!([
        {"sku": "tea", "name": "Tea", "price": 450, "on_hand": on_hand},
        {"sku": "mug", "name": "Mug", "price": 1299, "on_hand": on_hand},
    ])
}

#[test]
fn items_of_the_configuration_are_there_and_sold_ones_stay_sold() {
    let world = World::new("configured").with("items", catalogue(2));
    let plugin = world.plugin();
    let list = plugin.get("/items").json();
    let mug = json!({
        "sku": "mug", "name": "Mug", "price": 1299, "currency": "USD", "on_hand": 2, "reserved": 0, "available": 2
    });
    assert_eq!(list["items"][0], mug);
    assert_eq!(list["items"][1]["sku"], "tea");
    assert_eq!(plugin.get("/items/mug").json(), mug);

    plugin.reserve("r", &[("mug", 2)]);
    assert_eq!(plugin.commit("r").status, 200);
    plugin.kill();
    let world = world.with("items", catalogue(9));
    assert_eq!(world.plugin().counts("mug"), [0, 0, 0]);
}

#[test]
fn an_item_is_created_and_changed_but_not_to_less_than_is_reserved() {
    let plugin = World::new("put").plugin();
    let body = |on_hand: i64| json!({"name": "Mug", "price": 5, "currency": "USD", "on_hand": on_hand});
    let created = plugin.put("/items/mug", &body(5));
    assert_eq!((created.status, &created.json()["available"]), (201, &json!(5)));
    plugin.reserve("r", &[("mug", 3)]);
    let changed = plugin.put("/items/mug", &body(4));
    assert_eq!((changed.status, &changed.json()["available"]), (200, &json!(1)));
    let refused = plugin.put("/items/mug", &body(2));
    assert_eq!(told(&refused), (409, "below_reserved".to_owned()));
    assert_eq!(refused.json()["errors"], json!([{"pointer": "#/on_hand", "detail": "3 are reserved"}]));
    assert_eq!(plugin.counts("mug"), [4, 3, 1]);
}

#[test]
fn units_that_an_over_time_reservation_holds_do_not_keep_an_item_from_being_changed() {
    let world = World::new("put_over_time");
    let plugin = world.plugin();
    plugin.stock("mug", 5);
    plugin.reserve("late", &[("mug", 3)]);
    world.let_expire("late");
    plugin.stock("mug", 1);
    assert_eq!(plugin.counts("mug"), [1, 0, 1]);
}

#[test]
fn refuses_what_is_no_item_and_names_every_place() {
    let plugin = World::new("bad_items").plugin();
    let body = json!({"name": "", "price": -1, "currency": "EUR", "on_hand": 1});
    let refused = plugin.put("/items/mug", &body);
    assert_eq!((refused.status, pointers(&refused)), (422, json!(["#/currency", "#/name", "#/price"])));
    let other = plugin.put("/items/mug", &json!({"colour": "red"}));
    assert_eq!((other.status, &pointers(&other)[0]), (422, &json!("#/colour")));
    assert_eq!(plugin.put("/items/a%2Fb", &body).status, 422);
    for nothing in ["/items/mug", "/items/a%00b"] {
        assert_eq!(plugin.get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn lists_come_in_pages() {
    let plugin = World::new("pages").plugin();
    for sku in ["b", "a", "C"] {
        plugin.stock(sku, 1);
    }
    let skus = |list: &Value| -> Value {
        list["items"].as_array().unwrap().iter().map(|item| item["sku"].clone()).collect()
    };
    let first = plugin.get("/items?limit=2").json();
    assert_eq!((skus(&first), &first["next"]), (json!(["C", "a"]), &json!("a")));
    let last = plugin.get("/items?limit=2&after=a").json();
    assert_eq!((skus(&last), &last["next"]), (json!(["b"]), &Value::Null));
    assert_eq!(plugin.get("/items?limit=201").status, 400);
    assert_eq!(plugin.get("/items?after=a%20b").status, 400);
}

#[test]
fn tells_what_is_available_and_what_it_costs_without_reserving() {
    let world = World::new("available").with("items", catalogue(3));
    let plugin = world.plugin();
    let ask = |lines: &[(&str, i64)]| plugin.post("/availability", &json!({"items": items(lines)}));
    let expected = json!({
        "available": false, "total": 4 * 450 + 2 * 1299, "currency": "USD",
        "items": [
            {"sku": "tea", "name": "Tea", "requested": 4, "available": 3, "price": 450, "sufficient": false},
            {"sku": "mug", "name": "Mug", "requested": 2, "available": 3, "price": 1299, "sufficient": true},
        ],
    });
    assert_eq!(ask(&[("tea", 4), ("mug", 2)]).json(), expected);
    assert_eq!(ask(&[("tea", 3)]).json()["available"], true);
    assert_eq!(plugin.counts("tea"), [3, 0, 3]);
    let unknown = ask(&[("tea", 1), ("milk", 1)]);
    assert_eq!((unknown.status, pointers(&unknown)), (422, json!(["#/items/1/sku"])));
}
