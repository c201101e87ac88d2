//! What is said of requests: what is wrong with them, and that they came before.

use std::thread;

use serde_json::{Value, json};

use crate::shop::{Shop, place, two_pens};

fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}

#[test]
fn every_field_that_is_wrong_is_named() {
    let shop = Shop::new("fields");
    let process = shop.open();
    let body = json!({
        "customer_id": "",
        "payment_method": "card_ok",
        "items": [{"sku": "pen", "quantity": 0}, {"sku": "pen", "quantity": 1}],
    });
    let answer = place(&process, &body.to_string());
    assert_eq!(answer.status, 422);
    assert_eq!(pointers(&answer.json()), ["#/customer_id", "#/items/0/quantity", "#/items/1/sku"]);
    let answer = place(&process, r#"{"customer_id": "ada", "items": [{"sku": 7}], "coupon": "x"}"#);
    assert_eq!(answer.status, 422);
    assert_eq!(
        pointers(&answer.json()),
        ["#/coupon", "#/items/0/quantity", "#/items/0/sku", "#/payment_method"]
    );
    assert_eq!(process.get("/api/orders").json(), json!({"items": []}));
}

#[test]
fn what_others_refuse_is_said_at_its_place() {
    let shop = Shop::new("refused");
    let process = shop.open();
    let items = json!([{"sku": "pen", "quantity": 1}, {"sku": "unicorn", "quantity": 1}]);
    let body = json!({"customer_id": "ada", "payment_method": "card_ok", "items": items});
    let answer = place(&process, &body.to_string());
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("items_refused")));
    assert_eq!(pointers(&answer.json()), ["#/items/1/sku"]);
    let answer = place(&process, &two_pens("shells"));
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("payment_refused")));
    assert_eq!(pointers(&answer.json()), ["#/payment_method"]);
    shop.assert_right(&answer.json()["order"]);
}

#[test]
fn the_same_request_again_is_the_same_order() {
    let shop = Shop::new("again");
    let process = shop.open();
    let place = |body: &str| process.request("POST", "/api/orders", &[("Idempotency-Key", "cart-7")], body);
    let first = place(&two_pens("card_ok"));
    let again = place(&two_pens("card_ok"));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = place(&two_pens("card_declined"));
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(shop.others.ledger(|ledger| ledger.payments.len()), 1);
}

#[test]
fn a_declined_order_is_replayed_as_it_was() {
    let shop = Shop::new("declined_again");
    let process = shop.open();
    let place = || {
        let key = [("Idempotency-Key", "cart-8")];
        process.request("POST", "/api/orders", &key, &two_pens("card_declined"))
    };
    let (first, again) = (place(), place());
    assert_eq!((first.status, again.status), (402, 402));
    assert_eq!(first.json(), again.json());
}

#[test]
fn requests_at_the_same_moment_make_one_order() {
    let shop = Shop::new("same_moment");
    let pods = [shop.open(), shop.open()];
    let answers: Vec<_> = thread::scope(|scope| {
        let place = |at: usize| {
            let pod = &pods[at % 2];
            let key = [("Idempotency-Key", "cart-9")];
            scope.spawn(move || pod.request("POST", "/api/orders", &key, &two_pens("card_ok")))
        };
        let customers: Vec<_> = (0..12).map(place).collect();
        customers.into_iter().map(|customer| customer.join().unwrap()).collect()
    });
    let id = answers[0].json()["id"].clone();
    for answer in &answers {
        assert!([201, 202].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.json()["id"], id);
    }
    assert_eq!(shop.others.ledger(|ledger| ledger.payments.len()), 1);
}

#[test]
fn orders_are_listed_page_by_page_the_newest_first() {
    let shop = Shop::new("pages");
    let process = shop.open();
    let mut placed: Vec<_> = (0..5)
        .map(|_| place(&process, &two_pens("card_ok")).json()["id"].as_str().unwrap().to_owned())
        .collect();
    placed.reverse();
    let mut listed: Vec<String> = Vec::new();
    let mut path = "/api/orders?status=completed&limit=2".to_owned();
    loop {
        let page = process.get(&path).json();
        listed.extend(
            page["items"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/orders?status=completed&limit=2&after={next}");
    }
    assert_eq!(listed, placed);
    assert_eq!(process.get("/api/orders?status=rejected").json(), json!({"items": []}));
    assert_eq!(process.get("/api/orders?status=lost").status, 400);
    assert_eq!(process.get("/api/orders/ord_none").status, 404);
}
