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

/// A configuration and a schema that it does not fit.
fn misfit() -> Value {
    json!({"config": {"key": 7}, "configSchema": {"properties": {"key": {"type": "string"}}}})
}

const MISFIT: &str = "a: spec.config: it does not fit spec.configSchema: /key: must be a string, found 7; correct it, or the schema";

#[test]
fn denies_a_configuration_that_does_not_fit_the_schema_beside_it() {
    let reviewer = reviewer(&[]);
    let asked = |spec: Value, old: Value| answer(&reviewer, &review("UPDATE", plugin("a", spec), old));
    let denied = (false, vec![MISFIT.to_owned()]);
    assert_eq!(answer(&reviewer, &review("CREATE", plugin("a", misfit()), Value::Null)), denied);
    assert_eq!(asked(misfit(), plugin("a", json!({}))), denied);
    let mut schema_only = misfit();
    schema_only["config"] = json!({"key": "x"});
    assert_eq!(asked(misfit(), plugin("a", schema_only)), denied);
    // What announced it was the image.
    let mut announced = plugin("a", json!({"config": {"key": 7}}));
    let schema = json!({"image": "example/plugin:1", "schema": misfit()["configSchema"].to_string()});
    announced["status"] = json!({"configSchema": schema});
    let warned = "a: the configuration does not fit its schema: /key: must be a string, found 7";
    let reviewed = answer(&reviewer, &review("UPDATE", announced, plugin("a", json!({}))));
    assert_eq!(reviewed, (true, vec![warned.to_owned()]));
}

#[test]
fn lets_a_change_pass_that_leaves_a_misfit_as_it_was_and_warns() {
    let reviewer = reviewer(&[]);
    let old = plugin("a", misfit());
    for change in
        [json!({}), json!({"suspend": true}), json!({"version": "1.1.0"}), json!({"enabled": false})]
    {
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"team": "shop"});
        new["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (allowed, warnings) = answer(&reviewer, &review("UPDATE", new, old.clone()));
        assert!(allowed && warnings[0].contains("/key: must be a string, found 7"), "{change}: {warnings:?}");
    }
    assert_eq!(answer(&reviewer, &review("DELETE", Value::Null, old)), (true, vec![]));
}

#[test]
fn judges_what_overrides_make_of_a_configuration_and_does_not_show_it() {
    let variable = |key: &str, value: &str| (format!("GOFORWARD_PLUGINS_{key}"), value.to_owned());
    let overridden = |key: &str, value: &str| {
        let index = Index::new(Overrides::read([variable(key, value)]).0);
        Reviewer { index: Arc::new(Mutex::new(index)), ..reviewer(&[]) }
    };
    let schema = json!({"properties": {"key": {"maxLength": 4}}});
    let create = |reviewer: &Reviewer, key: &str| {
        let plugin = plugin("a", json!({"config": {"key": key}, "configSchema": schema}));
        answer(reviewer, &review("CREATE", plugin, Value::Null))
    };
    assert!(create(&overridden("A_CONFIG_KEY", "abc"), "longer").0, "it is overridden");
    let expected = "a: spec.config: it does not fit spec.configSchema: /key: must have at most 4 characters, \
                    and GOFORWARD_PLUGINS_A_CONFIG_KEY of the operator overrides it; correct it, or the schema";
    assert_eq!(create(&overridden("A_CONFIG_KEY", "hunter2"), "abc"), (false, vec![expected.to_owned()]));
    // It can mean the plugin a-config-key as well, of which nothing is known yet.
    let starting = Reviewer { listed: listed(1), ..overridden("A_CONFIG_KEY_ENABLED", "true") };
    let schema = json!({"properties": {"key_enabled": {"type": "string"}}});
    let ambiguous = plugin("a", json!({"configSchema": schema}));
    let asked = |reviewer: &Reviewer| answer(reviewer, &review("CREATE", ambiguous.clone(), Value::Null)).0;
    assert!(asked(&starting));
    assert!(!asked(&Reviewer { listed: listed(0), ..starting }));
}

#[test]
fn warns_of_keys_that_no_schema_knows() {
    let spec = json!({"config": {"kye": "x"}, "configSchema": {"properties": {"key": {}}}});
    let (allowed, warnings) = answer(&reviewer(&[]), &review("CREATE", plugin("a", spec), Value::Null));
    assert!(allowed);
    assert_eq!(
        warnings,
        [
            "a: the configuration has fields that its schema does not know: /kye; correct their names, or add them to the schema"
        ]
    );
}

#[test]
fn never_stands_in_the_way_of_a_finalizer_or_a_deletion() {
    let reviewer = reviewer(&[]);
    for spec in [needs("b", ">=2, <1"), json!({"replicas": "many"}), misfit()] {
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
