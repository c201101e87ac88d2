use forward_plan::Namespace;
use serde_json::{Value, json};

use super::*;
use crate::{
    live::Object,
    metrics_page::{Row, rows, told},
};

fn plugin(name: &str, conditions: Value) -> Arc<forward_crds::Plugin> {
    let plugin = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {"version": "1.0.0", "image": "a"},
        "status": {"state": "Started", "conditions": conditions},
    });
    Arc::new(serde_json::from_value(plugin).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
           "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn index() -> Arc<Mutex<Index>> {
    let mut index = Index::default();
    let serves = json!([condition("Ready", "True", "Ready"), condition("Stalled", "False", "NotStalled")]);
    let fails = json!([condition("Ready", "False", "Crashing"), condition("Stalled", "True", "Crashing")]);
    let odd = json!([condition("Ready", "False", "MadeUp")]);
    for (name, conditions) in [("serves", serves), ("fails", fails), ("odd", odd)] {
        index.apply(Object::Plugin(plugin(name, conditions)));
    }
    Arc::new(Mutex::new(index))
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|it| it == line)
}

#[test]
fn tells_of_each_plugin_while_it_leads() {
    let metrics = Metrics::new();
    let index = index();
    metrics.follow(&index, &Queue::default());
    let ready = r#"forward_operator_plugin_ready{plugin="shop/serves",reason="Ready"} 1"#;
    assert!(!has(&metrics.render().unwrap(), ready), "another replica leads, and tells the same");
    metrics.leading.set(1);
    let text = metrics.render().unwrap();
    for line in [
        ready,
        r#"forward_operator_plugin_ready{plugin="shop/fails",reason="Crashing"} 0"#,
        r#"forward_operator_plugin_ready{plugin="shop/odd",reason="Unknown"} 0"#,
        r#"forward_operator_plugin_stalled{plugin="shop/fails"} 1"#,
        r#"forward_operator_plugin_stalled{plugin="shop/serves"} 0"#,
        r#"forward_operator_plugins{state="Started",reason="Crashing"} 1"#,
    ] {
        assert!(has(&text, line), "{line} is not in\n{text}");
    }
    assert!(has(&text, "forward_operator_queue_length 0"));
    drop(index);
    assert!(!has(&metrics.render().unwrap(), ready), "nobody acts on it any more");
}

#[test]
fn counts_a_failed_call_by_what_failed() {
    let metrics = Metrics::new();
    let name = || "hello".to_owned();
    let status = |code| {
        let status = json!({"status": "Failure", "message": "no", "reason": "Other", "code": code});
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        kube::Error::Api(status.boxed())
    };
    for code in [409, 429, 503, 400] {
        metrics.failed(&Error::Call { action: "apply", kind: "Service", name: name(), source: status(code) });
    }
    metrics.failed(&Error::Timeout { action: "apply", kind: "Service", name: name() });
    metrics.failed(&Error::ForeignObject { kind: "Service", name: name() });
    let text = metrics.render().unwrap();
    for cause in ["Conflict", "Throttled", "Server", "Refused", "Timeout"] {
        let line = format!("forward_operator_api_errors_total{{kind=\"Service\",cause=\"{cause}\"}} 1");
        assert!(has(&text, &line), "{line} is not in\n{text}");
    }
    assert!(has(&text, r#"forward_operator_reconcile_errors_total{category="Invalid"} 1"#), "{text}");
}

#[test]
fn a_reconciliation_that_is_dropped_is_under_way_no_more() {
    let metrics = Metrics::new();
    let first = metrics.begin();
    drop(metrics.begin());
    assert!(has(&metrics.render().unwrap(), "forward_operator_in_flight 1"));
    drop(first);
    assert!(has(&metrics.render().unwrap(), "forward_operator_in_flight 0"));
}

/// Everything that can be told, once.
fn all() -> String {
    let metrics = Metrics::new();
    let index = index();
    metrics.follow(&index, &Queue::default());
    metrics.leading.set(1);
    metrics.reconciles.get_or_create(&OutcomeLabel { outcome: Outcome::Applied }).inc();
    metrics.failed(&Error::Timeout { action: "apply", kind: "Service", name: "hello".to_owned() });
    metrics.duration.observe(0.01);
    metrics.became_ready(Duration::from_secs(3));
    metrics.reviews.get_or_create(&VerdictLabel { verdict: Verdict::Allowed }).inc();
    metrics.hook_ended(HookName::BeforeLoad, HookKind::Job, HookEnd::Failed, Some(Duration::from_secs(2)));
    metrics.wrote("Service");
    metrics.deleted("Deployment");
    let mut namespace = Namespace::new();
    namespace.apply(plugin("new", json!([])), forward_plan::Observed::default());
    metrics.decided(&namespace.decide("new").unwrap());
    metrics.render().unwrap()
}

#[test]
fn the_page_lists_every_metric_with_its_labels_and_no_other() {
    let told: Vec<Row> = told(&all());
    assert_eq!(rows("forward_operator_"), told);
}
