//! Reservations, one request after the other.

use example_testing::{pointers, told};
use serde_json::{Value, json};

use crate::world::{Plugin, World, items, wish};

fn stocked(name: &str) -> Plugin {
    let plugin = World::new(name).plugin();
    plugin.stock("mug", 5);
    plugin.stock("tea", 2);
    plugin
}

fn refusal(code: &str) -> (u16, String) {
    (409, code.to_owned())
}

#[test]
fn a_reservation_holds_its_items_until_it_is_committed() {
    let plugin = stocked("committed");
    let made = plugin.reserve("ord_1", &[("tea", 1), ("mug", 2)]);
    assert_eq!((made.status, made.header("location")), (201, "/api/inventory/reservations/ord_1"));
    let made = made.json();
    assert_eq!((&made["id"], &made["status"]), (&json!("ord_1"), &json!("active")));
    assert_eq!(made["items"], items(&[("mug", 2), ("tea", 1)]));
    assert_eq!(plugin.get("/reservations/ord_1").json(), made);
    assert_eq!((plugin.counts("mug"), plugin.counts("tea")), ([5, 2, 3], [2, 1, 1]));

    let committed = plugin.commit("ord_1");
    assert_eq!((committed.status, &committed.json()["status"]), (200, &json!("committed")));
    assert_eq!((plugin.counts("mug"), plugin.counts("tea")), ([3, 0, 3], [1, 0, 1]));
    assert_eq!(plugin.commit("ord_1").json(), committed.json());
    assert_eq!(plugin.counts("mug"), [3, 0, 3]);
    assert_eq!(told(&plugin.release("ord_1")), refusal("reservation_committed"));
    assert_eq!(plugin.counts("mug"), [3, 0, 3]);
    assert_eq!(plugin.commit("ord_2").status, 404);
}

#[test]
fn a_released_reservation_gives_back_its_items_once() {
    let plugin = stocked("released");
    plugin.reserve("r", &[("mug", 2)]);
    plugin.reserve("other", &[("mug", 1)]);
    for _ in 0..2 {
        let released = plugin.release("r");
        assert_eq!((released.status, &released.json()["status"]), (200, &json!("released")));
        assert_eq!(plugin.counts("mug"), [5, 1, 4]);
    }
    assert_eq!(told(&plugin.commit("r")), refusal("reservation_released"));
    assert_eq!(told(&plugin.reserve("r", &[("mug", 2)])), refusal("reservation_released"));
}

#[test]
fn the_same_again_is_the_same_reservation() {
    let plugin = stocked("again");
    let made = plugin.reserve("r", &[("mug", 2), ("tea", 1)]);
    let again = plugin.reserve("r", &[("tea", 1), ("mug", 2)]);
    assert_eq!((again.status, again.json()), (200, made.json()));
    assert_eq!(plugin.counts("mug"), [5, 2, 3]);
    assert_eq!(told(&plugin.reserve("r", &[("mug", 2)])), refusal("reservation_differs"));
    plugin.commit("r");
    let late = plugin.reserve("r", &[("mug", 2), ("tea", 1)]);
    assert_eq!((late.status, &late.json()["status"]), (200, &json!("committed")));
    assert_eq!(plugin.counts("mug"), [3, 0, 3]);
}

#[test]
fn a_release_that_overtakes_its_reserve_keeps_it_from_reserving() {
    let plugin = stocked("overtaken");
    let released = plugin.release("r");
    assert_eq!((released.status, &released.json()["items"]), (200, &json!([])));
    assert_eq!(told(&plugin.reserve("r", &[("mug", 1)])), refusal("reservation_released"));
    assert_eq!(plugin.counts("mug"), [5, 0, 5]);
}

#[test]
fn too_little_of_anything_reserves_nothing_and_names_each_shortage() {
    let plugin = stocked("short");
    plugin.stock("pot", 1);
    let short = plugin.reserve("r", &[("tea", 3), ("mug", 1), ("pot", 2)]);
    assert_eq!(told(&short), refusal("insufficient_stock"));
    let expected = json!([
        {"pointer": "#/items/0/quantity", "detail": "3 wanted, 2 available"},
        {"pointer": "#/items/2/quantity", "detail": "2 wanted, 1 available"},
    ]);
    assert_eq!(short.json()["errors"], expected);
    assert_eq!(plugin.counts("mug"), [5, 0, 5]);
    // The id was not used up.
    assert_eq!(plugin.reserve("r", &[("tea", 2)]).status, 201);
}

#[test]
fn refuses_what_is_no_wish_and_names_every_place() {
    let plugin = stocked("bad_wishes");
    let refused = |body: &Value| {
        let answer = plugin.post("/reservations", body);
        (answer.status, pointers(&answer))
    };
    let mut body = wish("a b", &[("mug", 0), ("mug", 1)]);
    body["ttl_seconds"] = json!(0);
    let expected = json!(["#/id", "#/items/0/quantity", "#/items/1/sku", "#/ttl_seconds"]);
    assert_eq!(refused(&body), (422, expected));
    assert_eq!(refused(&wish("r", &[("mug", 1), ("milk", 1)])), (422, json!(["#/items/1/sku"])));
    assert_eq!(refused(&json!({"id": "r"})), (422, json!(["#/items"])));
    assert_eq!(plugin.get("/reservations/r").status, 404);
}

#[test]
fn lists_the_newest_first_and_by_status() {
    let plugin = stocked("list");
    for id in ["c", "a", "b"] {
        plugin.reserve(id, &[("mug", 1)]);
    }
    plugin.commit("a");
    let list = |query: &str| -> (Value, Value) {
        let list = plugin.get(&format!("/reservations{query}")).json();
        let ids = list["items"].as_array().unwrap().iter().map(|item| item["id"].clone());
        (ids.collect(), list["next"].clone())
    };
    assert_eq!(list(""), (json!(["b", "a", "c"]), Value::Null));
    assert_eq!(list("?status=active"), (json!(["b", "c"]), Value::Null));
    let (first, next) = list("?limit=2");
    assert_eq!(first, json!(["b", "a"]));
    assert_eq!(list(&format!("?after={}", next.as_str().unwrap())), (json!(["c"]), Value::Null));
    assert_eq!(plugin.get("/reservations?status=gone").status, 400);
    assert_eq!(plugin.get("/reservations?after=x").status, 400);
}
