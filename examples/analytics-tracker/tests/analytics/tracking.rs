//! What is taken and what is refused, on the memory of the process.

use serde_json::json;

use crate::tracker::{Tracker, failure};

#[test]
fn takes_an_event_once() {
    let tracker = Tracker::start(&json!({}));
    let order = json!({"id": "ord_1", "type": "order_completed", "user_id": "ada",
        "properties": {"order_id": "ord_1", "total_amount": 1999, "currency": "USD", "item_count": 2}});
    assert_eq!(tracker.track(&order), [1, 0, 0]);
    assert_eq!(tracker.track(&order), [0, 0, 1]);
    let batch = json!({"events": [order, {"id": "x", "type": "a"}, {"id": "x", "type": "b"}, {"type": "c"}]});
    assert_eq!(tracker.track(&batch), [2, 0, 2], "the second x is a duplicate too");
    let sum = json!({"function": "sum", "field": "properties.total_amount"});
    let question = json!({"event_type": "order_completed", "aggregates": [{"function": "count"}, sum]});
    let expected = json!({"scanned": 1, "truncated": false, "groups": [
        {"key": {}, "values": {"count": 1, "sum(properties.total_amount)": 1999}},
    ]});
    assert_eq!(tracker.query(&question), expected);
    assert_eq!(tracker.metric("analytics_events_total{outcome=\"duplicate\"}").unwrap(), "3");
}

#[test]
fn keeps_nothing_of_a_wrong_batch() {
    let tracker = Tracker::start(&json!({}));
    let events = json!([{"type": "a"}, {"type": ""}, {"user_id": "ada"}, {"type": "b", "typo": 1}]);
    let answer = tracker.post("/api/analytics/track", &json!({"events": events}));
    assert_eq!((answer.status, answer.header("content-type")), (422, "application/problem+json"));
    let pointers: Vec<_> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pointers, ["#/events/2/type", "#/events/3/typo"], "what cannot be read comes first");
    let answer = tracker.post("/api/analytics/track", &json!({"events": [{"type": "a"}, {"type": ""}]}));
    assert_eq!(answer.json()["errors"][0]["pointer"], "#/events/1/type");
    assert_eq!(tracker.post("/api/analytics/track", &json!("text")).status, 422);
    assert_eq!(tracker.0.request("POST", "/api/analytics/track", &[], "{").status, 400);
    assert_eq!(tracker.count(), 0);
}

#[test]
fn keeps_the_share_of_users_that_it_should() {
    let tracker = Tracker::start(&json!({"sample_rate": 0.5}));
    let events: Vec<_> = (0..1_000).map(|i| json!({"type": "a", "user_id": (i % 250).to_string()})).collect();
    let [accepted, sampled_out, duplicates] = tracker.track(&json!({"events": events}));
    assert_eq!((accepted + sampled_out, duplicates), (1_000, 0));
    assert!((350..650).contains(&accepted), "{accepted}");
    let users = tracker.query(&json!({"group_by": ["user_id"]}));
    for group in users["groups"].as_array().unwrap() {
        assert_eq!(group["values"]["count"], 4, "a user is in or out whole");
    }
}

#[test]
fn answers_only_what_makes_sense() {
    let tracker = Tracker::start(&json!({}));
    let question = json!({"aggregates": [{"function": "sum"}], "group_by": ["week"], "limt": 5});
    let answer = tracker.post("/api/analytics/query", &question);
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("#/limt")));
    let question = json!({"aggregates": [{"function": "sum"}], "group_by": ["week"]});
    let errors = tracker.post("/api/analytics/query", &question).json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], "#/group_by/0");
    assert_eq!(errors[1]["pointer"], "#/aggregates/0/field");
}

#[test]
fn does_not_start_on_what_it_cannot_mean() {
    assert!(failure(&json!({"sample_rate": 2})).contains("/sample_rate: must be from 0 to 1"));
    assert!(failure(&json!({"storage_type": "redis"})).contains("/redis_url: is missing"));
    assert!(failure(&json!({"storage_type": "disk"})).contains("/storage_type"));
}
