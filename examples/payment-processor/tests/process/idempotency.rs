//! One key is one charge.

use example_testing::{at_once, told};
use serde_json::json;

use crate::world::{World, order};

#[test]
fn the_same_again_is_the_same_answer() {
    let world = World::new("again");
    let plugin = world.plugin();
    let first = plugin.process("k", &order(1999));
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    plugin.refund(first.json()["id"].as_str().unwrap(), &[], &json!({}));
    let again = plugin.process("k", &order(1999));
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(again.body, first.body);

    let mut declined = order(1999);
    declined["method"] = json!("card_declined");
    let first = plugin.process("d", &declined);
    let again = plugin.process("d", &declined);
    assert_eq!((first.status, again.status, again.header("idempotency-replayed")), (402, 402, "true"));
    assert_eq!(again.body, first.body);
    assert_eq!(world.query::<i64>("SELECT count(*) FROM payments"), 2);
}

#[test]
fn something_else_under_a_key_is_refused() {
    let plugin = World::new("reused").plugin();
    assert_eq!(plugin.process("k", &order(1999)).status, 201);
    let reused = (422, "idempotency_key_reused".to_owned());
    assert_eq!(told(&plugin.process("k", &order(2000))), reused);
    let mut other = order(1999);
    other["description"] = json!("");
    assert_eq!(told(&plugin.process("k", &other)), reused);
    assert_eq!(told(&plugin.process("a\tb", &other)), (400, "idempotency_key_invalid".to_owned()));
}

#[test]
fn one_key_at_once_on_two_pods_is_one_charge() {
    let world = World::new("at_once");
    let pods = [world.plugin(), world.plugin()];
    let answers = at_once(50, |number| pods[number % 2].process("k", &order(1999)));
    let taken: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    let first_hand = taken.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count();
    assert_eq!(first_hand, 1, "{answers:?}");
    assert!(taken.iter().all(|answer| answer.body == taken[0].body), "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(told(answer), (409, "idempotency_key_in_use".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(world.query::<i64>("SELECT count(*) FROM payments"), 1);
    let charges = pods.iter().filter_map(|pod| pod.metric("payments_charge_seconds_count"));
    assert_eq!(charges.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), 1);
}
