//! Analytics is told of every completed order, and nothing waits for it.

use serde_json::json;

use crate::{
    fault::{Call, Fault},
    shop::{Shop, await_order, place, two_pens},
};

#[test]
fn analytics_is_told_of_a_completed_order() {
    let shop = Shop::new("tracked");
    let process = shop.open();
    let order = place(&process, &two_pens("card_ok")).json();
    let id = order["id"].as_str().unwrap();
    await_order(&process, id, |order| order["tracked"] == true);
    let (event, times) = shop.others.ledger(|ledger| ledger.events[id].clone());
    let properties = json!({"order_id": id, "total_amount": 700, "currency": "USD", "item_count": 2});
    assert_eq!((&event["type"], &event["user_id"]), (&json!("order_completed"), &json!("ada")));
    assert_eq!((&event["properties"], times), (&properties, 1));
}

#[test]
fn orders_do_not_wait_for_analytics_and_the_backlog_flows_when_it_is_back() {
    let shop = Shop::new("analytics_away");
    shop.others.go_away(&[Call::Track], Fault::HeldBefore);
    let process = shop.open();
    let orders: Vec<_> = (0..3).map(|_| place(&process, &two_pens("card_ok"))).collect();
    assert!(orders.iter().all(|order| order.status == 201));
    shop.others.await_held();
    shop.others.come_back();
    for order in &orders {
        let id = order.json()["id"].as_str().unwrap().to_owned();
        await_order(&process, &id, |order| order["tracked"] == true);
        assert!(shop.others.ledger(|ledger| ledger.events.contains_key(&id)));
    }
}

#[test]
fn an_event_that_is_refused_keeps_no_other_back() {
    let shop = Shop::new("untrackable");
    shop.others.go_away(&[Call::Track], Fault::Answer(503, ""));
    let process = shop.open();
    let bad = place(&process, &two_pens("card_ok").replace("ada", "untrackable")).json();
    let good = place(&process, &two_pens("card_ok")).json();
    shop.others.come_back();
    await_order(&process, good["id"].as_str().unwrap(), |order| order["tracked"] == true);
    let bad = await_order(&process, bad["id"].as_str().unwrap(), |order| order["status"] == "completed");
    assert_eq!(bad["tracked"], false);
}

#[test]
fn rejected_orders_are_not_told_of() {
    let shop = Shop::new("not_told");
    let process = shop.open();
    let rejected = place(&process, &two_pens("card_declined")).json();
    let completed = place(&process, &two_pens("card_ok")).json();
    await_order(&process, completed["id"].as_str().unwrap(), |order| order["tracked"] == true);
    let rejected = rejected["order"]["id"].as_str().unwrap();
    assert!(!shop.others.ledger(|ledger| ledger.events.contains_key(rejected)));
}
