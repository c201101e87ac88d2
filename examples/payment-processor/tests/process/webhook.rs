//! What the processor tells.

use example_testing::{at_once, told};
use serde_json::{Value, json};

use crate::world::{World, now, order, sign};

fn event(id: &str, kind: &str, object: Value) -> Value {
    json!({"id": id, "type": kind, "data": {"object": object}})
}

/// A payment of which nobody knows yet what became of it, as it is while the processor takes time.
fn pending(world: &World) -> String {
    let id = "pay_0190b0c0d0e0f0000000000000000001";
    world.execute(&format!(
        "INSERT INTO payments.payments (id, amount, currency, method, customer_id, claimed_until)
        VALUES ('{id}', 1000, 'USD', 'card_ok', 'cus_1', now() + interval '1 hour')"
    ));
    id.to_owned()
}

fn provider_id(world: &World, id: &str) -> String {
    world.query(&format!("SELECT provider_id FROM payments WHERE id = '{id}'"))
}

#[test]
fn settles_what_is_pending_and_never_goes_back() {
    let world = World::new("settles");
    let plugin = world.plugin();
    let id = pending(&world);
    assert_eq!(plugin.payment(&id)["status"], "pending");
    assert_eq!(told(&plugin.refund(&id, &[], &json!({}))), (409, "payment_pending".to_owned()));
    let intent = json!({"id": "pi_1", "metadata": {"payment_id": id}});
    for (number, kind, status) in [
        (1, "payment_intent.payment_failed", "declined"),
        (2, "payment_intent.succeeded", "succeeded"),
        (3, "payment_intent.payment_failed", "succeeded"),
    ] {
        let answer = plugin.deliver(&event(&format!("evt_{number}"), kind, intent.clone()));
        assert_eq!((answer.status, answer.json()), (200, json!({"received": true})));
        assert_eq!(plugin.payment(&id)["status"], status, "{kind}");
    }
    assert_eq!(plugin.metric(r#"payments_webhooks_total{result="changed"}"#).as_deref(), Some("2"));
    assert_eq!(plugin.metric(r#"payments_webhooks_total{result="ignored"}"#).as_deref(), Some("1"));
}

#[test]
fn records_what_was_refunded_without_us_and_only_that() {
    let world = World::new("elsewhere");
    let plugin = world.plugin();
    let id = plugin.paid(1000);
    plugin.refund(&id, &[], &json!({"amount": 300}));
    let refunded = |number: u32, amount: i64| {
        let object =
            json!({"id": "ch_1", "payment_intent": provider_id(&world, &id), "amount_refunded": amount});
        let answer = plugin.deliver(&event(&format!("evt_{number}"), "charge.refunded", object));
        assert_eq!(answer.status, 200);
        plugin.payment(&id)["refunded"].clone()
    };
    assert_eq!(refunded(1, 300), 300);
    assert_eq!(refunded(2, 450), 450);
    assert_eq!(refunded(3, 450), 450);
    assert_eq!(refunded(4, 5000), 1000);
    let refunds = plugin.payment(&id)["refunds"].clone();
    assert_eq!(
        (&refunds[1]["amount"], &refunds[1]["reason"]),
        (&json!(150), &json!("refunded at the processor"))
    );
}

#[test]
fn an_event_has_its_effect_once() {
    let world = World::new("once");
    let plugin = world.plugin();
    let id = plugin.paid(1000);
    let object = json!({"payment_intent": provider_id(&world, &id), "amount_refunded": 100});
    let body = event("evt_1", "charge.refunded", object).to_string();
    let signed = sign(&body, now());
    let answers = at_once(10, |_| plugin.deliver_signed(&body, &signed));
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 1, "{answers:?}");
    let replayed = (409, "webhook_replayed".to_owned());
    assert_eq!(answers.iter().filter(|answer| answer.status == 409 && told(answer) == replayed).count(), 9);

    // The processor delivers again: the same event, signed at another time.
    let again = plugin.deliver_signed(&body, &sign(&body, now() + 1));
    assert_eq!((again.status, again.json()), (200, json!({"received": true, "duplicate": true})));
    // Another `v1` beside the right one does not make another message of it.
    let padded = format!("{signed},v1={}", "0".repeat(64));
    assert_eq!(told(&plugin.deliver_signed(&body, &padded)), replayed);
    assert_eq!(plugin.payment(&id)["refunded"], 100);
    assert_eq!(plugin.metric(r#"payments_webhooks_total{result="duplicate"}"#).as_deref(), Some("1"));
}

#[test]
fn what_is_not_signed_as_it_should_be_has_no_effect() {
    let world = World::new("unsigned");
    let plugin = world.plugin();
    let id = pending(&world);
    let intent = json!({"id": "pi_1", "metadata": {"payment_id": id}});
    let body = event("evt_1", "payment_intent.succeeded", intent).to_string();
    let right = sign(&body, now());
    let other_body = sign("{}", now());
    let mut said = Vec::new();
    for signature in ["", "v1", &other_body, &right[..right.len() - 1]] {
        let answer = plugin.deliver_signed(&body, signature);
        assert_eq!(told(&answer), (401, String::new()), "{signature}");
        said.push(answer.body);
    }
    let missing = plugin.post("/webhook", &[], &json!({}));
    assert_eq!(missing.status, 401);
    assert!(said.iter().all(|one| *one == missing.body), "{said:?}");
    for seconds in [now() - 310, now() + 310] {
        let answer = plugin.deliver_signed(&body, &sign(&body, seconds));
        assert_eq!(told(&answer), (401, "signature_stale".to_owned()));
    }
    // That it is no JSON is not even noticed before its signature.
    assert_eq!(plugin.deliver_signed("{", &right).status, 401);
    assert_eq!(plugin.deliver_signed("{", &sign("{", now())).status, 400);

    assert_eq!(plugin.payment(&id)["status"], "pending");
    let counted = |result: &str| plugin.metric(&format!("payments_webhooks_total{{result=\"{result}\"}}"));
    assert_eq!(counted("signature_missing").as_deref(), Some("1"));
    assert_eq!(counted("signature_malformed").as_deref(), Some("3"));
    assert_eq!(counted("signature_mismatch").as_deref(), Some("2"));
    assert_eq!(counted("signature_stale").as_deref(), Some("2"));
    assert_eq!(counted("unreadable").as_deref(), Some("1"));
    assert_eq!(plugin.deliver_signed(&body, &right).status, 200);
}

#[test]
fn what_we_keep_no_record_of_is_received_all_the_same() {
    let world = World::new("unknown");
    let plugin = world.plugin();
    assert_eq!(plugin.post("/process", &[], &order(1)).status, 201);
    for (id, kind) in [("evt_1", "customer.created"), ("evt_2", "payment_intent.succeeded")] {
        assert_eq!(plugin.deliver(&event(id, kind, json!({"id": "pi_of_somebody_else"}))).status, 200);
    }
    assert_eq!(plugin.metric(r#"payments_webhooks_total{result="ignored"}"#).as_deref(), Some("2"));
}
