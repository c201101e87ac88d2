//! Giving payments back.

use example_testing::{at_once, pointers, told};
use serde_json::json;

use crate::world::{World, order};

#[test]
fn gives_back_in_parts_and_then_what_is_left() {
    let plugin = World::new("parts").plugin();
    let id = plugin.paid(1999);
    let part = plugin.refund(&id, &[], &json!({"amount": 500, "reason": "a scratch"}));
    assert_eq!(part.status, 201);
    let part = part.json();
    let expected = json!({
        "id": part["id"], "payment_id": id, "amount": 500, "currency": "USD", "reason": "a scratch",
        "created_at": part["created_at"],
    });
    assert_eq!(part, expected);

    let too_much = plugin.refund(&id, &[], &json!({"amount": 1500}));
    assert_eq!((too_much.status, pointers(&too_much)), (422, json!(["#/amount"])));
    assert_eq!(plugin.refund(&id, &[], &json!({})).json()["amount"], 1499);
    let nothing = (409, "nothing_to_refund".to_owned());
    assert_eq!(told(&plugin.refund(&id, &[], &json!({}))), nothing);
    assert_eq!(told(&plugin.refund(&id, &[], &json!({"amount": 1}))), nothing);

    let payment = plugin.payment(&id);
    assert_eq!((&payment["refunded"], &payment["status"]), (&json!(1999), &json!("succeeded")));
    assert_eq!(payment["refunds"][0]["id"], part["id"]);
    assert_eq!(payment["refunds"][1]["amount"], 1499);
    assert_eq!(plugin.metric("payments_refunded_amount_total").as_deref(), Some("1999"));
}

#[test]
fn refuses_what_cannot_be_given_back() {
    let world = World::new("cannot");
    let plugin = world.plugin();
    let mut asked = order(1999);
    asked["method"] = json!("card_declined");
    let declined = plugin.post("/process", &[], &asked).json()["payment"]["id"].clone();
    let declined = plugin.refund(declined.as_str().unwrap(), &[], &json!({}));
    assert_eq!(told(&declined), (409, "nothing_to_refund".to_owned()));
    let id = plugin.paid(1999);
    for body in [json!({"amount": 0}), json!({"amount": -5}), json!({"amount": "5"}), json!({"amount": 2000})]
    {
        let answer = plugin.refund(&id, &[], &body);
        assert_eq!((answer.status, pointers(&answer)), (422, json!(["#/amount"])), "{body}");
    }
    let off = world.with("enable_refunds", json!(false)).plugin();
    assert_eq!(told(&off.refund(&id, &[], &json!({}))), (403, "refunds_disabled".to_owned()));
}

#[test]
fn one_key_is_one_refund() {
    let world = World::new("refund_key");
    let plugin = world.plugin();
    let (id, other) = (plugin.paid(1999), plugin.paid(1999));
    let key = [("Idempotency-Key", "k")];
    let answers = at_once(20, |_| plugin.refund(&id, &key, &json!({"amount": 500})));
    let given: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!given.is_empty() && given.iter().all(|answer| answer.body == given[0].body), "{answers:?}");
    let in_use = (409, "idempotency_key_in_use".to_owned());
    assert!(answers.iter().all(|answer| answer.status == 201 || told(answer) == in_use), "{answers:?}");
    assert_eq!(plugin.payment(&id)["refunded"], 500);

    let again = plugin.refund(&id, &key, &json!({"amount": 500}));
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    let reused = (422, "idempotency_key_reused".to_owned());
    assert_eq!(told(&plugin.refund(&id, &key, &json!({}))), reused);
    assert_eq!(told(&plugin.refund(&other, &key, &json!({"amount": 500}))), reused);
}

#[test]
fn refunds_at_once_on_two_pods_never_exceed_the_amount() {
    let world = World::new("refunds_at_once");
    let pods = [world.plugin(), world.plugin()];
    let id = pods[0].paid(1000);
    let answers = at_once(40, |number| pods[number % 2].refund(&id, &[], &json!({"amount": 70})));
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 14, "{answers:?}");
    assert!(answers.iter().all(|answer| [201, 422].contains(&answer.status)), "{answers:?}");
    let payment = pods[1].payment(&id);
    assert_eq!((&payment["refunded"], payment["refunds"].as_array().unwrap().len()), (&json!(980), 14));
    assert_eq!(pods[0].refund(&id, &[], &json!({})).json()["amount"], 20);
}

#[test]
fn the_database_refuses_more_than_the_amount_whatever_the_program_does() {
    let world = World::new("check");
    world.plugin().paid(1000);
    let refused = world.try_execute("UPDATE payments.payments SET refunded = 1001").unwrap_err();
    assert!(refused.to_string().contains("refunded_within_amount"), "{refused}");
}
