//! Starting, health and metrics.

use example_testing::at_once;
use serde_json::json;

use crate::world::{World, order};

#[test]
fn refuses_a_key_of_the_other_environment_without_quoting_it() {
    let world = World::new("keys").with("api_key", json!("sk_live_very_secret"));
    let message = world.failure();
    assert!(message.contains("/api_key: in the sandbox, a key that begins with \"sk_test_\""), "{message}");
    assert!(!message.contains("very_secret"), "{message}");
    let message = world.with("currency", json!("DOL")).failure();
    assert!(message.contains("/currency") && !message.contains("very_secret"), "{message}");
}

#[test]
fn pods_that_start_at_once_make_the_tables_once() {
    let world = World::new("start_at_once");
    let pods = at_once(3, |_| world.plugin());
    pods.iter().for_each(|pod| assert!(pod.health().0));
}

#[test]
fn health_and_metrics_say_how_it_fares() {
    let plugin = World::new("fares").plugin();
    let id = plugin.paid(1000);
    plugin.refund(&id, &[], &json!({"amount": 400}));
    plugin.post("/process", &[], &order(0));
    let (healthy, health) = plugin.health();
    assert!(healthy, "{health:?}");
    for (name, value) in [
        ("environment", "sandbox"),
        ("payments_last_hour", "1"),
        ("pending_payments", "0"),
        ("pending_refunds", "0"),
        ("stuck", "0"),
    ] {
        assert_eq!(health.details[name], value, "{name}");
    }
    assert!(health.details["database_ms"].parse::<u64>().unwrap() < 1000);
    for (metric, value) in [
        (r#"payments_processed_total{outcome="succeeded"}"#, "1"),
        (r#"payments_refunds_total{outcome="succeeded"}"#, "1"),
        ("payments_refunded_amount_total", "400"),
        ("payments_charge_seconds_count", "1"),
        (r#"plugin_http_requests_total{method="POST",route="/api/payments/process",status="422"}"#, "1"),
    ] {
        assert_eq!(plugin.metric(metric).as_deref(), Some(value), "{metric}");
    }
}
