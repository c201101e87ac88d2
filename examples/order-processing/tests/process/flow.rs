//! How orders end, and what is answered meanwhile.

use example_testing::{Postgres, Process, await_some};
use serde_json::json;

use crate::{
    fault::{Call, Fault},
    shop::{Shop, await_order, place, two_pens},
};

#[test]
fn an_order_is_paid_and_taken_out_of_stock() {
    let shop = Shop::new("completed");
    let process = shop.open();
    let answer = place(&process, &two_pens("card_ok"));
    assert_eq!(answer.status, 201, "{answer:?}");
    let order = answer.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/api/orders/{id}"));
    assert_eq!(order["items"], json!([{"sku": "pen", "quantity": 2, "price": 350}]));
    assert_eq!((&order["total"], &order["currency"]), (&json!(700), &json!("USD")));
    assert_eq!((&order["reservation_id"], &order["payment_id"]), (&json!(id), &json!("pay_1")));
    shop.assert_right(&order);
    let metrics = process.get("/metrics").body;
    let counted = r#"orders_finished_total{outcome="completed",reason=""} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_declined_payment_ends_the_order() {
    let shop = Shop::new("declined");
    let answer = place(&shop.open(), &two_pens("card_declined"));
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (402, &json!("payment_declined")));
    assert_eq!(problem["order"]["reason"], "payment_declined");
    assert_eq!(problem["order"]["payment_id"], "pay_1");
    shop.assert_right(&problem["order"]);
}

#[test]
fn what_is_not_there_is_not_charged() {
    let shop = Shop::new("too_little");
    shop.others.ledger(|ledger| ledger.stock.insert("pen".to_owned(), 1));
    let answer = place(&shop.open(), &two_pens("card_ok"));
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (409, &json!("insufficient_stock")));
    let error = json!({"pointer": "#/items/0/quantity", "detail": "2 wanted, 1 available"});
    assert_eq!(problem["errors"], json!([error]));
    assert!(shop.others.ledger(|ledger| ledger.payments.is_empty()));
}

#[test]
fn what_is_sold_meanwhile_is_paid_back() {
    let shop = Shop::new("sold_meanwhile");
    shop.others.fail(Call::Reserve, &[Fault::Answer(409, "insufficient_stock")]);
    let answer = place(&shop.open(), &two_pens("card_ok"));
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("insufficient_stock")));
    shop.assert_right(&answer.json()["order"]);
    assert_eq!(shop.others.ledger(|ledger| ledger.refunds.clone()), [("pay_1".to_owned(), 700)].into());
}

#[test]
fn a_reservation_that_ran_out_is_paid_back() {
    let shop = Shop::new("ran_out");
    shop.others.fail(Call::Commit, &[Fault::Answer(409, "reservation_expired")]);
    let answer = place(&shop.open(), &two_pens("card_ok"));
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("reservation_lost")));
    shop.assert_right(&answer.json()["order"]);
}

#[test]
fn lost_answers_and_overload_change_nothing() {
    let shop = Shop::new("lost_answers");
    for call in [Call::Check, Call::Charge, Call::Reserve, Call::Commit] {
        shop.others.fail(call, &[Fault::AnswerLost, Fault::Answer(503, "")]);
    }
    let process = shop.open();
    let answer = place(&process, &two_pens("card_ok"));
    assert!([201, 202].contains(&answer.status), "{answer:?}");
    let order =
        await_order(&process, answer.json()["id"].as_str().unwrap(), |order| order["status"] == "completed");
    shop.assert_right(&order);
}

#[test]
fn an_order_waits_for_payments_that_are_away() {
    let shop = Shop::new("payments_away");
    shop.others.go_away(&[Call::Charge], Fault::Answer(503, ""));
    let process = shop.open();
    let answer = place(&process, &two_pens("card_ok"));
    assert_eq!((answer.status, answer.header("retry-after")), (202, "1"));
    assert_eq!((&answer.json()["status"], &answer.json()["step"]), (&json!("pending"), &json!("charging")));
    shop.others.come_back();
    let order =
        await_order(&process, answer.json()["id"].as_str().unwrap(), |order| order["status"] == "completed");
    shop.assert_right(&order);
}

#[test]
fn a_charge_whose_answer_was_lost_is_not_taken_for_refused() {
    let shop = Shop::new("settings_changed");
    // It was made; then the payment processor would not make it any more.
    shop.others.fail(Call::Charge, &[Fault::AnswerLost, Fault::Answer(422, "")]);
    let answer = place(&shop.open(), &two_pens("card_ok"));
    assert_eq!(answer.status, 201, "{answer:?}");
    shop.assert_right(&answer.json());
}

#[test]
fn a_refund_is_tried_until_it_is_allowed() {
    let shop = Shop::new("refunds_disabled");
    shop.others.fail(Call::Reserve, &[Fault::Answer(409, "insufficient_stock")]);
    shop.others.go_away(&[Call::Refund], Fault::Answer(403, "refunds_disabled"));
    let process = shop.open();
    let answer = place(&process, &two_pens("card_ok"));
    assert_eq!((answer.status, &answer.json()["step"]), (202, &json!("refunding")), "{answer:?}");
    shop.others.come_back();
    let order =
        await_order(&process, answer.json()["id"].as_str().unwrap(), |order| order["status"] == "rejected");
    shop.assert_right(&order);
}

#[test]
fn without_a_database_requests_are_told_to_come_again() {
    let postgres = Postgres::start();
    let shop = Shop::on(&postgres, "away");
    let process = shop.open();
    postgres.stop();
    let answer = place(&process, &two_pens("card_ok"));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{answer:?}");
    postgres.start_again();
    let answer = await_some("the database", || {
        Some(place(&process, &two_pens("card_ok"))).filter(|answer| answer.status != 503)
    });
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn settings_that_do_not_go_together_are_said() {
    let shop = Shop::new("settings");
    let mut config = shop.config();
    config["lease"] = json!("500ms");
    let message = Process::failure(env!("CARGO_BIN_EXE_order-processing"), "order-processing", &config, &[]);
    assert!(message.contains("/lease: must be longer than /call_timeout"), "{message}");
}
