//! Whole reconciliations against an API server that plays scenarios.

mod refresh;
mod scenario;

use forward_crds::PluginSystem;
use http::{Method, StatusCode};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod, policy::v1::PodDisruptionBudget};
use serde_json::{Value, json};

use super::*;
use scenario::{
    Call, NO_ANSWER, NO_TROUBLE, Run, Trouble, deleted, manifest, old_config, plugin, pod, pod_manifest,
    read, reconcile_with, roll_out, written, written_with,
};

#[tokio::test]
async fn a_new_plugin_gets_its_finalizer_then_its_objects_then_a_status() {
    let run = reconcile_with(vec![plugin(json!({"finalizers": []}), json!({}))], NO_TROUBLE).await;
    run.result.as_ref().unwrap();
    let writes: Vec<_> = run.calls.iter().filter(|call| call.writes()).collect();
    let mut kinds: Vec<_> = writes.iter().map(|call| call.path.split('/').next().unwrap()).collect();
    // What the pods need comes before the Deployment, in whatever order.
    kinds[1..5].sort_unstable();
    let before = ["configmaps", "networkpolicies", "serviceaccounts", "services"];
    assert_eq!(kinds[1..5], before);
    assert_eq!([kinds[0], kinds[5], kinds[6]], ["plugins", "deployments", "plugins"]);
    assert_eq!(kinds.len(), 7, "one pod needs no PodDisruptionBudget");
    assert_eq!(writes[0].body["metadata"]["finalizers"], json!([forward_crds::FINALIZER]));
    assert_eq!(run.condition("Ready"), ("False", "RollingOut"));
}

#[tokio::test]
async fn a_plugin_that_stands_costs_no_call() {
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let mut objects = roll_out(&first);
    let mut there = manifest(json!({}), json!({}));
    objects.insert(0, read::<Plugin>(there.clone()));
    let second = reconcile_with(objects.clone(), NO_TROUBLE).await;
    assert_eq!(second.lines(), ["PATCH plugins/hello/status"]);
    there["status"] = second.calls[0].body["status"].clone();
    objects[0] = read::<Plugin>(there);
    let third = reconcile_with(objects, NO_TROUBLE).await;
    assert!(third.calls.is_empty(), "{:?}", third.lines());
}

#[tokio::test]
async fn a_new_plugin_costs_a_call_for_each_object() {
    let run = reconcile_with(vec![plugin(json!({"finalizers": []}), json!({}))], NO_TROUBLE).await;
    let count = |method: Method| run.calls.iter().filter(|call| call.method == method).count();
    // ServiceAccount, ConfigMap, Service, NetworkPolicy, Deployment; the finalizer and the status.
    assert_eq!((count(Method::POST), count(Method::PATCH)), (5, 2), "{:?}", run.lines());
    assert_eq!(run.calls.len(), 7, "{:?}", run.lines());
}

#[tokio::test]
async fn details_of_a_status_are_written_a_little_later() {
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let mut there = manifest(json!({}), json!({}));
    there["status"] = first.body(Method::PATCH, "plugins/hello/status")["status"].clone();
    // A pod more of those that are to come: words and counts change, and nothing else.
    let mut objects = written_with(&first, |kind, body| {
        if kind == "deployments" {
            body["status"] = json!({"replicas": 1, "updatedReplicas": 1});
        }
    });
    objects.push(read::<Plugin>(there.clone()));
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert!(run.calls.is_empty(), "{:?}", run.lines());
    assert_ne!(run.result.unwrap(), None, "it is looked at again by itself");
    let mut objects = roll_out(&first);
    objects.push(read::<Plugin>(there));
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.condition("Available").0, "True", "news are written at once");
}

#[tokio::test]
async fn a_suspended_plugin_keeps_its_objects_and_gets_no_pods() {
    let run =
        reconcile_with(vec![plugin(json!({}), json!({"suspend": true, "replicas": 3}))], NO_TROUBLE).await;
    assert_eq!(run.written("deployments/hello")["spec"]["replicas"], 0);
    run.written("services/hello");
}

#[tokio::test]
async fn a_budget_is_there_while_there_is_more_than_one_pod() {
    let wide = || plugin(json!({}), json!({"replicas": 2}));
    let run = reconcile_with(vec![wide()], NO_TROUBLE).await;
    assert_eq!(run.written("poddisruptionbudgets/hello")["spec"]["maxUnavailable"], 1);
    let there = written(&run);
    let deleted = "DELETE poddisruptionbudgets/hello".to_owned();
    for (spec, goes) in [
        (json!({"replicas": 2}), false),
        (json!({"replicas": 1}), true),
        (json!({"replicas": 2, "suspend": true}), true),
        (json!({"replicas": 2, "enabled": false}), true),
    ] {
        let mut objects = there.clone();
        objects.push(plugin(json!({"generation": 2}), spec.clone()));
        let run = reconcile_with(objects, NO_TROUBLE).await;
        run.result.as_ref().unwrap();
        assert_eq!(run.lines().contains(&deleted), goes, "{spec}: {:?}", run.lines());
    }
}

#[tokio::test]
async fn a_budget_of_somebody_else_stays() {
    let budget = json!({"metadata": {"name": "hello", "namespace": "shop", "uid": "u-9",
                                     "labels": {"goforward.dev/plugin": "hello"}}});
    let budget = read::<PodDisruptionBudget>(budget);
    let run = reconcile_with(vec![budget, plugin(json!({}), json!({}))], NO_TROUBLE).await;
    run.result.as_ref().unwrap();
    assert!(!run.lines().iter().any(|line| line.contains("poddisruptionbudgets")), "{:?}", run.lines());
}

#[tokio::test]
async fn a_policy_that_somebody_changed_is_put_right() {
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let changes: [fn(&mut Value); 3] = [
        |spec| spec["podSelector"]["matchLabels"]["app"] = "nobody".into(),
        |spec| spec["ingress"].as_array_mut().unwrap().push(json!({})),
        |spec| spec["ingress"][0]["ports"] = Value::Null,
    ];
    for change in changes {
        let mut objects = written_with(&first, |kind, body| {
            if kind == "networkpolicies" {
                change(&mut body["spec"]);
            }
        });
        objects.push(plugin(json!({}), json!({})));
        let run = reconcile_with(objects, NO_TROUBLE).await;
        assert_eq!(run.lines(), ["PATCH networkpolicies/hello", "PATCH plugins/hello/status"]);
    }
}

#[tokio::test]
async fn a_label_that_somebody_changed_is_put_right() {
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    for changed in ["deployments", "services"] {
        let mut objects = written_with(&first, |kind, body| {
            if kind == changed {
                body["metadata"]["labels"]["goforward.dev/plugin"] = "another".into();
            }
        });
        objects.push(plugin(json!({}), json!({})));
        let run = reconcile_with(objects, NO_TROUBLE).await;
        let path = format!("{changed}/hello");
        assert_eq!(run.lines(), [format!("PATCH {path}"), "PATCH plugins/hello/status".to_owned()]);
        assert_eq!(run.written(&path)["metadata"]["labels"]["goforward.dev/plugin"], "hello");
    }
}

#[tokio::test]
async fn what_its_namespace_does_not_allow_costs_a_plugin_nothing_that_runs() {
    let mut objects = roll_out(&reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await);
    let template = json!({"template": {"serviceAccountName": "shop"}});
    objects.push(plugin(json!({"generation": 2}), template.clone()));
    let run = reconcile_with(objects.clone(), NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello/status"]);
    assert_eq!(run.condition("Accepted"), ("False", "TemplateNotAllowed"));
    assert_eq!(run.condition("Stalled"), ("False", "NotStalled"));
    let system = json!({"metadata": {"name": "default", "namespace": "shop", "generation": 1},
                        "spec": {"templates": {"serviceAccountNames": ["shop"]}}});
    objects.push(read::<PluginSystem>(system));
    let run = reconcile_with(objects, NO_TROUBLE).await;
    let account = &run.written("deployments/hello")["spec"]["template"]["spec"]["serviceAccountName"];
    assert_eq!(account, "shop");
}

#[tokio::test]
async fn settings_of_the_namespace_reach_the_pods() {
    let system = json!({"metadata": {"name": "default", "namespace": "shop", "generation": 4},
                        "spec": {"sandbox": {"memory": "40Mi"}}});
    let system = read::<PluginSystem>(system);
    let run = reconcile_with(vec![system, plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let deployment = run.written("deployments/hello");
    assert_eq!(deployment["metadata"]["annotations"]["goforward.dev/revision"], "1-memory=40Mi");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["memory"], "40Mi");
}

#[tokio::test]
async fn a_disabled_plugin_loses_that_very_deployment() {
    let mut objects = written(&reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await);
    objects.push(plugin(json!({"generation": 2}), json!({"enabled": false})));
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.lines(), ["DELETE deployments/hello", "PATCH plugins/hello/status"]);
    assert_eq!(run.body(Method::DELETE, "deployments/hello")["preconditions"]["uid"], "u-2");
    assert_eq!(
        writes(&run),
        [r#"{kind="Deployment",verb="delete"} 1"#, r#"{kind="PluginStatus",verb="apply"} 1"#]
    );
}

/// The writes that were counted.
fn writes(run: &Run) -> Vec<String> {
    let text = run.metrics.render().unwrap();
    let counted = text.lines().filter_map(|line| line.strip_prefix("forward_operator_writes_total"));
    let mut counted: Vec<String> = counted.map(str::to_owned).collect();
    counted.sort();
    counted
}

#[tokio::test]
async fn what_is_gone_when_it_is_written_is_no_failure_and_no_write() {
    let gone: Trouble = |call| (call.method != Method::GET).then_some(StatusCode::NOT_FOUND);
    let mut objects = written(&reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await);
    objects.push(plugin(json!({"generation": 2}), json!({"enabled": false})));
    let unloaded = reconcile_with(objects, gone).await;
    assert_eq!(unloaded.lines(), ["DELETE deployments/hello", "PATCH plugins/hello/status"]);
    let let_go = reconcile_with(vec![plugin(deleted(), json!({}))], gone).await;
    assert_eq!(let_go.lines(), ["PATCH plugins/hello"]);
    for run in [unloaded, let_go] {
        assert!(run.result.is_ok(), "{:?}", run.result);
        assert_eq!(writes(&run), [""; 0]);
    }
}

#[tokio::test]
async fn configurations_stay_until_no_pod_can_start_with_them() {
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let mut objects = written(&first);
    objects.extend([plugin(json!({}), json!({})), old_config()]);
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello/status"]);
    let mut objects = roll_out(&first);
    objects.extend([plugin(json!({}), json!({})), old_config()]);
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.lines(), ["DELETE configmaps/hello-config-old", "PATCH plugins/hello/status"]);
}

#[tokio::test]
async fn a_deleted_plugin_is_let_go_after_its_last_pod() {
    let mut objects = written(&reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await);
    objects.extend([plugin(deleted(), json!({})), pod()]);
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.lines(), ["DELETE deployments/hello", "PATCH plugins/hello/status"]);
    assert_eq!(run.condition("Ready"), ("False", "Deleting"));
    let run = reconcile_with(vec![plugin(deleted(), json!({})), pod()], NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello/status"]);
    assert_ne!(run.result.unwrap(), None, "a lost pod is waited for with a bound");
    let mut told_long_ago = pod_manifest();
    told_long_ago["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let run =
        reconcile_with(vec![plugin(deleted(), json!({})), read::<Pod>(told_long_ago)], NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello/status"], "what the clock says does not count");
    let run = reconcile_with(vec![plugin(deleted(), json!({}))], NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello"]);
}

#[tokio::test]
async fn a_pod_that_has_ended_for_good_holds_up_nothing() {
    for phase in ["Failed", "Succeeded"] {
        let mut ended = pod_manifest();
        ended["status"] = json!({"phase": phase});
        let objects = vec![plugin(deleted(), json!({})), read::<Pod>(ended)];
        let run = reconcile_with(objects, NO_TROUBLE).await;
        assert_eq!(run.lines(), ["PATCH plugins/hello"], "{phase}");
    }
}

#[tokio::test]
async fn a_finalizer_goes_whoever_holds_it_and_those_of_others_stay() {
    let with = |finalizers: &[&str]| {
        let mut metadata = deleted();
        metadata["resourceVersion"] = "7".into();
        metadata["finalizers"] = json!(finalizers);
        vec![plugin(metadata, json!({}))]
    };
    let (ours, other) = (forward_crds::FINALIZER, "example.com/theirs");
    let alone = reconcile_with(with(&[ours]), NO_TROUBLE).await;
    assert_eq!(alone.lines(), ["PATCH plugins/hello"]);
    // An apply takes off only what the operator alone holds.
    assert_eq!(alone.calls[0].media_type, "application/merge-patch+json");
    assert_eq!(alone.calls[0].body, json!({"metadata": {"uid": "u-1", "finalizers": []}}));

    let shared = reconcile_with(with(&[ours, other]), NO_TROUBLE).await;
    let body = json!({"metadata": {"uid": "u-1", "finalizers": [other], "resourceVersion": "7"}});
    assert_eq!((&shared.calls[0].body, shared.calls.len()), (&body, 1));
    let conflict: Trouble = |call| (call.path == "plugins/hello").then_some(StatusCode::CONFLICT);
    let late = reconcile_with(with(&[ours, other]), conflict).await;
    assert_eq!(late.result.unwrap_err().category(), Category::Conflict, "it is tried again");

    let done = reconcile_with(with(&[other]), NO_TROUBLE).await;
    assert!(done.calls.is_empty(), "{:?}", done.lines());
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told_and_stalls() {
    let trouble = |call: &Call| {
        call.path
            .starts_with("deployments/")
            .then_some(StatusCode::UNPROCESSABLE_ENTITY)
            .filter(|_| call.writes())
    };
    let run = reconcile_with(vec![plugin(json!({}), json!({}))], trouble).await;
    assert_eq!(run.result.as_ref().unwrap_err().category(), Category::Invalid);
    assert_eq!(run.condition("Stalled"), ("True", "ObjectRefused"));
    assert_eq!(run.condition("Ready"), ("False", "ObjectRefused"));
}

#[tokio::test]
async fn what_was_decided_and_written_is_counted() {
    let run = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let text = run.metrics.render().unwrap();
    for line in [
        r#"decisions_total{action="Apply",reason="RollingOut"} 1"#,
        r#"writes_total{kind="Deployment",verb="apply"} 1"#,
        r#"writes_total{kind="PluginStatus",verb="apply"} 1"#,
        r#"reconciles_total{outcome="Applied"} 1"#,
        "in_flight 0",
    ] {
        let line = format!("forward_operator_{line}");
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_time_of_a_change_is_counted_when_it_ends() {
    let condition = |type_: &str, status: &str| {
        json!({"type": type_, "status": status, "reason": "RollingOut", "message": "",
               "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let first = reconcile_with(vec![plugin(json!({}), json!({}))], NO_TROUBLE).await;
    let mut objects = roll_out(&first);
    let mut moving = manifest(json!({}), json!({}));
    let conditions = [("Ready", "False"), ("Reconciling", "True"), ("Registered", "True")];
    moving["status"] = json!({"conditions": conditions.map(|(type_, status)| condition(type_, status))});
    objects.push(read::<Plugin>(moving));
    let run = reconcile_with(objects, NO_TROUBLE).await;
    assert_eq!(run.condition("Ready"), ("True", "Ready"));
    let text = run.metrics.render().unwrap();
    assert!(text.contains("forward_operator_time_to_ready_seconds_count 1"), "{text}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_not_told() {
    let troubles: [Trouble; 2] = [
        |call| call.path.starts_with("services/").then_some(StatusCode::CONFLICT),
        |call| call.path.starts_with("services/").then_some(StatusCode::INTERNAL_SERVER_ERROR),
    ];
    for trouble in troubles {
        let run = reconcile_with(vec![plugin(json!({}), json!({}))], trouble).await;
        assert_ne!(run.result.as_ref().unwrap_err().category(), Category::Invalid);
        assert!(!run.lines().contains(&"PATCH plugins/hello/status".to_owned()), "{:?}", run.lines());
    }
}

#[tokio::test]
async fn a_hook_is_written_down_then_run_and_pods_are_made_after_it() {
    let spec = || json!({"hooks": {"beforeLoad": {"job": {"command": ["migrate"]}}}});
    let version = || json!({"resourceVersion": "7"});
    let first = reconcile_with(vec![plugin(version(), spec())], NO_TROUBLE).await;
    assert_eq!(first.lines(), ["PATCH plugins/hello/status"]);
    let told = first.body(Method::PATCH, "plugins/hello/status");
    assert_eq!(told["metadata"]["resourceVersion"], "7", "nobody has begun it meanwhile");
    assert_eq!(told["status"]["hooks"][0]["outcome"], "Running");
    assert_eq!(first.condition("Ready"), ("False", "HookRunning"));

    let mut there = manifest(version(), spec());
    there["status"] = told["status"].clone();
    let second = reconcile_with(vec![read::<Plugin>(there.clone())], NO_TROUBLE).await;
    let made = second.calls.iter().filter(|call| call.writes());
    let kinds: Vec<_> = made.map(|call| call.path.split('/').next().unwrap()).collect();
    assert_eq!(kinds, ["serviceaccounts", "configmaps", "networkpolicies", "jobs"]);
    assert_ne!(second.result.unwrap(), None, "its time is bounded");

    let is_job = |call: &&Call| call.method == Method::POST && call.path.starts_with("jobs/hello-hook-");
    let mut job = second.calls.iter().find(is_job).unwrap().body.clone();
    job["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let end = "2026-01-01T00:00:04Z";
    job["status"] =
        json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": end}]});
    let objects = vec![read::<Plugin>(there), read::<Job>(job)];
    let third = reconcile_with(objects.clone(), NO_TROUBLE).await;
    let deployment = third.written("deployments/hello");
    assert!(deployment["metadata"]["annotations"]["goforward.dev/hook-revision"].is_string(), "{deployment}");
    let told = third.body(Method::PATCH, "plugins/hello/status");
    assert_eq!(told["status"]["hooks"][0]["outcome"], "Succeeded");
    assert_eq!(told["metadata"]["resourceVersion"], "7", "nobody has counted it meanwhile");
    let has = |run: &Run, line: &str| run.metrics.render().unwrap().lines().any(|it| it == line);
    assert!(has(&third, &ran("beforeLoad", "Succeeded")));
    assert!(has(&third, r#"forward_operator_hook_seconds_sum{hook="beforeLoad",kind="Job"} 4.0"#));
    for metrics in [first.metrics, second.metrics] {
        assert!(!metrics.render().unwrap().contains("hook_runs_total"), "it goes on");
    }
    // Somebody else was first, and has counted it.
    let trouble: Trouble = |call| call.path.ends_with("/status").then_some(StatusCode::CONFLICT);
    let late = reconcile_with(objects, trouble).await;
    assert_eq!(late.result.as_ref().unwrap_err().category(), Category::Conflict);
    assert!(!has(&late, &ran("beforeLoad", "Succeeded")));
}

#[tokio::test]
async fn a_hook_of_a_new_plugin_is_written_down_over_the_version_with_the_finalizer() {
    let spec = json!({"hooks": {"beforeLoad": {"job": {"command": ["migrate"]}}}});
    let metadata = json!({"resourceVersion": "7", "finalizers": []});
    let run = reconcile_with(vec![plugin(metadata, spec)], NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello"], "the status would be one of an older version");
    assert_eq!(run.result.unwrap(), None);
}

/// A Job of a hook that was counted once.
fn ran(hook: &str, outcome: &str) -> String {
    format!("forward_operator_hook_runs_total{{hook=\"{hook}\",kind=\"Job\",outcome=\"{outcome}\"}} 1")
}

#[tokio::test]
async fn a_hook_after_the_end_is_counted_by_who_lets_the_plugin_go() {
    let spec = || json!({"hooks": {"afterStop": {"job": {"command": ["sweep"]}}}});
    let metadata = || json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7"});
    let mut there = manifest(metadata(), spec());
    let object: Plugin = serde_json::from_value(there.clone()).unwrap();
    let revision = hook_revision(&object, &forward_plan::Settings::default());
    let record = json!({"hook": "afterStop", "revision": revision, "outcome": "Running",
                        "time": "2026-01-01T00:00:00Z"});
    there["status"] = json!({"hooks": [record]});
    let first = reconcile_with(vec![read::<Plugin>(there.clone())], NO_TROUBLE).await;
    let is_job = |call: &&Call| call.method == Method::POST && call.path.starts_with("jobs/");
    let mut job = first.calls.iter().find(is_job).unwrap().body.clone();
    job["status"] =
        json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
    let objects = || vec![read::<Plugin>(there.clone()), read::<Job>(job.clone())];
    let run = reconcile_with(objects(), NO_TROUBLE).await;
    assert_eq!(run.lines(), ["PATCH plugins/hello"]);
    assert_eq!(run.calls[0].body["metadata"]["resourceVersion"], "7");
    let text = run.metrics.render().unwrap();
    assert!(text.lines().any(|line| line == ran("afterStop", "Timeout")), "{text}");
    assert!(!text.contains("hook_seconds_sum"), "nothing says when it began or ended: {text}");
    let gone: Trouble = |call| (call.path == "plugins/hello").then_some(StatusCode::NOT_FOUND);
    let late = reconcile_with(objects(), gone).await;
    late.result.unwrap();
    assert!(!late.metrics.render().unwrap().contains("hook_runs_total"), "somebody else was first");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_never_answered_does_not_hold_up_its_plugin() {
    let trouble: Trouble = |call| call.path.starts_with("events").then_some(NO_ANSWER);
    let reconciled = reconcile_with(vec![plugin(json!({}), json!({}))], trouble);
    let run = tokio::time::timeout(AFTER_INVALID, reconciled).await.expect("it ends");
    assert!(run.result.is_ok());
}

#[tokio::test]
async fn events_tell_of_steps_and_of_what_somebody_must_do_and_not_of_what_passes() {
    let needs = || plugin(json!({}), json!({"dependencies": [{"name": "stock"}]}));
    let stock = json!({"name": "stock", "namespace": "shop", "uid": "u-7", "generation": 1});
    let stock = || read::<Plugin>(manifest(stock.clone(), json!({})));
    for (objects, reason, is_told) in [
        (vec![needs(), stock()], "WaitingForDependencies", false),
        (vec![needs()], "DependencyMissing", true),
        (vec![plugin(json!({}), json!({}))], "RollingOut", true),
    ] {
        let run = reconcile_with(objects, NO_TROUBLE).await;
        assert_eq!(run.condition("Ready").1, reason);
        assert_eq!(run.events, Vec::from_iter(is_told.then_some(reason)));
    }
}
