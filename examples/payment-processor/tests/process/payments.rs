//! Taking, showing and listing payments.

use example_testing::{pointers, told};
use serde_json::{Value, json};

use crate::world::{World, order};

#[test]
fn takes_a_payment_and_shows_it() {
    let world = World::new("takes");
    let plugin = world.plugin();
    let asked = json!({
        "amount": 1999, "currency": "USD", "method": "card_ok", "customer_id": "cus_1",
        "description": "A mug", "reference": "ord_1",
    });
    let answer = plugin.post("/process", &[], &asked);
    assert_eq!(answer.status, 201);
    let payment = answer.json();
    assert!(payment["id"].as_str().unwrap().starts_with("pay_") && payment["created_at"].is_string());
    let mut expected = asked;
    expected["id"] = payment["id"].clone();
    expected["created_at"] = payment["created_at"].clone();
    expected["status"] = json!("succeeded");
    expected["refunded"] = json!(0);
    expected["refunds"] = json!([]);
    assert_eq!(payment, expected);
    assert_eq!(plugin.payment(payment["id"].as_str().unwrap()), payment);
}

#[test]
fn tells_why_a_payment_was_declined() {
    let world = World::new("declines");
    let plugin = world.plugin();
    for (method, code) in
        [("card_declined", "card_declined"), ("card_insufficient_funds", "insufficient_funds")]
    {
        let mut asked = order(1999);
        asked["method"] = json!(method);
        let answer = plugin.post("/process", &[], &asked);
        assert_eq!(told(&answer), (402, code.to_owned()));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let payment = answer.json()["payment"].clone();
        assert_eq!(payment["status"], "declined");
        assert_eq!(plugin.payment(payment["id"].as_str().unwrap()), payment);
    }
    let counted = plugin.metric(r#"payments_processed_total{outcome="declined"}"#);
    assert_eq!(counted.as_deref(), Some("2"));
}

#[test]
fn refuses_what_is_not_within_the_terms() {
    let world = World::new("refuses").with("max_amount", json!(5000)).with("currency", json!("EUR"));
    let plugin = world.plugin();
    let wrong = json!({"amount": 5001, "currency": "USD", "method": "cash", "customer_id": ""});
    let answer = plugin.post("/process", &[], &wrong);
    assert_eq!(answer.status, 422);
    assert_eq!(pointers(&answer), json!(["#/amount", "#/currency", "#/method", "#/customer_id"]));

    let shapes = json!({"amount": 19.99, "currency": "EUR", "customer_id": "c", "tip": 1});
    let answer = plugin.post("/process", &[], &shapes);
    assert_eq!((answer.status, pointers(&answer)), (422, json!(["#/amount", "#/method", "#/tip"])));
    assert_eq!(plugin.post("/process", &[("Content-Type", "text/plain")], &wrong).status, 415);
    assert_eq!(world.query::<i64>("SELECT count(*) FROM payments"), 0);
}

#[test]
fn there_are_payments_that_are_not_there() {
    let plugin = World::new("not_there").plugin();
    for id in ["pay_0190b0c0d0e0f0000000000000000000", "pay_1", "%00", "x"] {
        assert_eq!(plugin.get(&format!("/{id}")).status, 404, "{id}");
        assert_eq!(plugin.refund(id, &[], &json!({})).status, 404, "{id}");
    }
}

#[test]
fn lists_page_by_page_the_newest_first() {
    let plugin = World::new("lists").plugin();
    for number in 0..5 {
        let mut asked = order(100 + number);
        asked["reference"] = json!(if number % 2 == 0 { "even" } else { "odd" });
        asked["method"] = json!(if number == 4 { "card_declined" } else { "card_ok" });
        plugin.post("/process", &[], &asked);
    }
    let page = |query: &str| {
        let list = plugin.get(query).json();
        let amounts: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|one| one["amount"].clone()).collect();
        (json!(amounts), list["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page(""), (json!([104, 103, 102, 101, 100]), None));
    assert_eq!(page("?reference=even"), (json!([104, 102, 100]), None));
    assert_eq!(page("?reference=even&status=succeeded"), (json!([102, 100]), None));
    assert_eq!(page("?reference=never"), (json!([]), None));
    let (first, next) = page("?limit=2");
    assert_eq!(first, json!([104, 103]));
    let (second, next) = page(&format!("?limit=2&after={}", next.unwrap()));
    assert_eq!(second, json!([102, 101]));
    assert_eq!(page(&format!("?limit=2&after={}", next.unwrap())), (json!([100]), None));
    for query in ["?limit=0", "?limit=201", "?limit=x", "?after=1", "?status=new", "?reference=%00", "?x=1"] {
        let answer = plugin.get(query);
        assert_eq!((answer.status, answer.json()["status"] == 400), (400, true), "{query}");
    }
}

#[test]
fn lists_show_refunds() {
    let plugin = World::new("lists_refunds").plugin();
    let id = plugin.paid(1000);
    plugin.paid(500);
    plugin.refund(&id, &[], &json!({"amount": 300, "reason": "broken"}));
    let list: Value = plugin.get("").json();
    assert_eq!(list["items"][0]["refunds"], json!([]));
    assert_eq!(
        (&list["items"][1]["refunded"], &list["items"][1]["refunds"][0]["reason"]),
        (&json!(300), &json!("broken"))
    );
}
