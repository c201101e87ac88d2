use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use tower::ServiceExt;

use super::*;
use crate::admission::serve;

/// What is answered: whether it is allowed, and what is said.
fn answer(reviewer: &Reviewer, review: &Value) -> (bool, Vec<String>) {
    let answer = reviewer.review(&serde_json::to_vec(review).unwrap()).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    let response = &answer["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    match response["allowed"].as_bool().unwrap() {
        true => (true, texts(&response["warnings"])),
        false => (false, vec![response["status"]["message"].as_str().unwrap().to_owned()]),
    }
}

#[test]
fn warns_of_what_another_object_could_make_right() {
    let reviewer = reviewer(&[plugin("inventory", json!({}))]);
    let fine = plugin("checkout", needs("inventory", "^1"));
    assert_eq!(answer(&reviewer, &review("CREATE", fine, Value::Null)), (true, vec![]));
    let wrong = plugin("checkout", needs("inventory", "^2"));
    let (allowed, warnings) = answer(&reviewer, &review("CREATE", wrong, Value::Null));
    assert!(
        allowed
            && warnings[0].starts_with("checkout: waits for inventory ^2: its version 1.0.0 is not in ^2")
    );
    let (_, warnings) = answer(&reviewer, &review("CREATE", plugin("a", needs("b", "1")), Value::Null));
    assert!(warnings[0].starts_with("a: waits for b 1: there is no such plugin"), "{warnings:?}");
}

#[test]
fn tells_who_needs_what_is_deleted_stopped_or_scaled_down() {
    let inventory = plugin("inventory", json!({}));
    let reviewer = reviewer(&[inventory.clone(), plugin("checkout", needs("inventory", "^1"))]);
    let deleted = answer(&reviewer, &review("DELETE", Value::Null, inventory.clone()));
    assert_eq!(deleted, (true, vec!["inventory: is to be deleted, and is needed by checkout".to_owned()]));
    let stopped = plugin("inventory", json!({"suspend": true}));
    let expected = (true, vec!["inventory: is to be stopped, and is needed by checkout".to_owned()]);
    assert_eq!(answer(&reviewer, &review("UPDATE", stopped, inventory)), expected);
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
                       "metadata": {"name": "inventory", "namespace": "shop"}, "spec": {}});
    assert_eq!(answer(&reviewer, &review("UPDATE", scale.clone(), scale)), expected);
}

#[test]
fn denies_what_is_wrong_in_itself_and_names_the_field() {
    let reviewer = reviewer(&[]);
    let (allowed, why) =
        answer(&reviewer, &review("CREATE", plugin("a", needs("b", ">=2, <1")), Value::Null));
    assert!(!allowed);
    assert!(why[0].starts_with("a: spec.dependencies[0].version: no version is in the range"), "{why:?}");
    let undecodable = plugin("a", json!({"replicas": "many"}));
    let (allowed, why) = answer(&reviewer, &review("CREATE", undecodable.clone(), Value::Null));
    assert!(!allowed);
    assert!(why[0].starts_with("a: it can not be read as a Plugin: spec.replicas: invalid type"), "{why:?}");
    let fine = plugin("a", json!({}));
    assert!(!answer(&reviewer, &review("UPDATE", undecodable, fine)).0);
}

#[test]
fn never_stands_in_the_way_of_a_finalizer_or_a_deletion() {
    let reviewer = reviewer(&[]);
    for spec in [needs("b", ">=2, <1"), json!({"replicas": "many"})] {
        let old = plugin("a", spec);
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["goforward.dev/dependents"]);
        assert!(answer(&reviewer, &review("UPDATE", new.clone(), old.clone())).0);
        new["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        new["spec"]["version"] = json!("2.0.0");
        assert_eq!(answer(&reviewer, &review("UPDATE", new, old.clone())), (true, vec![]));
        assert!(answer(&reviewer, &review("DELETE", Value::Null, old)).0);
    }
}

#[test]
fn says_nothing_of_others_before_all_are_listed() {
    let known = reviewer(&[]);
    let starting = Reviewer { listed: listed(1), ..known };
    let waits = plugin("a", needs("b", "^1"));
    assert_eq!(answer(&starting, &review("CREATE", waits, Value::Null)), (true, vec![]));
}

#[test]
fn changes_nothing_by_being_asked() {
    let reviewer = reviewer(&[plugin("b", json!({}))]);
    let first = answer(&reviewer, &review("CREATE", plugin("a", needs("b", "^2")), Value::Null));
    let mut dry = review("CREATE", plugin("b", json!({"version": "2.0.0"})), Value::Null);
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(answer(&reviewer, &dry), (true, vec![]));
    assert_eq!(answer(&reviewer, &review("CREATE", plugin("a", needs("b", "^2")), Value::Null)), first);
}

#[test]
fn says_no_more_than_the_api_server_passes_on() {
    let reviewer = reviewer(&[]);
    let missing: Vec<Value> = (0..64).map(|n| json!({"name": format!("{}{n}", "long".repeat(10))})).collect();
    let asks = plugin("a", json!({"dependencies": missing}));
    let (_, warnings) = answer(&reviewer, &review("CREATE", asks, Value::Null));
    assert!(warnings.iter().map(String::len).sum::<usize>() < 4_096, "{warnings:?}");
    assert!(warnings.last().unwrap().starts_with("a: and "), "{warnings:?}");
}

#[tokio::test]
async fn refuses_what_is_no_review_or_too_large() {
    let router = serve::router(reviewer(&[]), confirmer(&[]).0);
    let ask = async |body: Vec<u8>| {
        let request = Request::post("/validate").body(Body::from(body)).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        (answer.status(), to_bytes(answer.into_body(), usize::MAX).await.unwrap())
    };
    assert_eq!(ask(b"{}".to_vec()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(vec![b' '; (3 << 20) + 1]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let valid = review("CREATE", plugin("a", json!({})), Value::Null);
    let (status, body) = ask(serde_json::to_vec(&valid).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["kind"], &body["response"]["allowed"]), (&json!("AdmissionReview"), &json!(true)));
}
