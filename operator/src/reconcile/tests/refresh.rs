//! How pods that take a configuration while they run are told of it.

use forward_crds::Plugin;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::scenario::{
    NO_TROUBLE, Run, Trouble, manifest, old_config, plugin, pod, pod_manifest, read, reconcile_with,
    roll_out, written,
};
use crate::live::Object;

const NOTED: &str = "goforward.dev/config-hash";

fn in_place() -> Object {
    plugin(json!({}), json!({"reload": "InPlace"}))
}

/// The pod of a plugin, changed.
fn pod_with(change: impl Fn(&mut Value)) -> Object {
    let mut pod = pod_manifest();
    pod["metadata"]["uid"] = "u-5".into();
    change(&mut pod["metadata"]);
    read::<Pod>(pod)
}

/// Reconcile a plugin that is as it should be, but for its pods. The answer is also the hash of its
/// configuration.
async fn run_with(plugin: Object, pods: impl Fn(&str) -> Vec<Object>, trouble: Trouble) -> (Run, String) {
    let first = reconcile_with(vec![in_place()], NO_TROUBLE).await;
    let hash = first.written("deployments/hello")["metadata"]["annotations"][NOTED].clone();
    let hash = hash.as_str().unwrap().to_owned();
    let mut objects = written(&first);
    objects.push(plugin);
    objects.extend(pods(&hash));
    (reconcile_with(objects, trouble).await, hash)
}

/// Whether a pod was written.
fn told(run: &Run) -> bool {
    run.lines().contains(&"PATCH pods/hello-1-x".to_owned())
}

#[tokio::test]
async fn a_pod_with_another_configuration_is_told_of_the_new_one() {
    for noted in [json!({}), json!({NOTED: "other"})] {
        let pods = |_: &str| vec![pod_with(|metadata| metadata["annotations"] = noted.clone())];
        let (run, hash) = run_with(in_place(), pods, NO_TROUBLE).await;
        run.result.as_ref().unwrap();
        let expected = json!({"metadata": {"uid": "u-5", "annotations": {NOTED: hash}}});
        assert_eq!(run.body(Method::PATCH, "pods/hello-1-x"), &expected);
        let text = run.metrics.render().unwrap();
        assert!(text.contains(r#"forward_operator_writes_total{kind="Pod",verb="apply"} 1"#), "{text}");
    }
}

#[tokio::test]
async fn a_pod_that_knows_goes_or_reads_its_files_at_its_start_is_left_alone() {
    let knows = |hash: &str| vec![pod_with(|metadata| metadata["annotations"] = json!({NOTED: hash}))];
    assert!(!told(&run_with(in_place(), knows, NO_TROUBLE).await.0));
    let goes =
        |_: &str| vec![pod_with(|metadata| metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into())];
    assert!(!told(&run_with(in_place(), goes, NO_TROUBLE).await.0));
    let rolling = plugin(json!({}), json!({"reload": "Rolling"}));
    assert!(!told(&run_with(rolling, |_| vec![pod()], NO_TROUBLE).await.0));
}

#[tokio::test]
async fn a_pod_that_is_gone_or_made_anew_is_no_failure_and_no_write() {
    let troubles: [(Trouble, bool); 3] = [
        (|call| call.path.starts_with("pods/").then_some(StatusCode::NOT_FOUND), true),
        (|call| call.path.starts_with("pods/").then_some(StatusCode::CONFLICT), true),
        (|call| call.path.starts_with("pods/").then_some(StatusCode::INTERNAL_SERVER_ERROR), false),
    ];
    for (trouble, is_fine) in troubles {
        let (run, _) = run_with(in_place(), |_| vec![pod_with(|_| {})], trouble).await;
        assert!(told(&run));
        assert_eq!(run.result.is_ok(), is_fine, "{:?}", run.result);
        let text = run.metrics.render().unwrap();
        assert!(!text.contains(r#"writes_total{kind="Pod""#), "{text}");
    }
}

#[tokio::test]
async fn old_configurations_stay_while_a_pod_is_being_told() {
    let first = reconcile_with(vec![in_place()], NO_TROUBLE).await;
    let hash = &first.written("deployments/hello")["metadata"]["annotations"][NOTED];
    let mut objects = roll_out(&first);
    let mut reloaded = manifest(json!({}), json!({"reload": "InPlace"}));
    reloaded["status"] = json!({"reload": {"configHash": hash}});
    objects.extend([read::<Plugin>(reloaded), old_config()]);
    for (noted, goes) in [(hash, true), (&json!("other"), false)] {
        let mut objects = objects.clone();
        objects.push(pod_with(|metadata| metadata["annotations"] = json!({NOTED: noted})));
        let run = reconcile_with(objects, NO_TROUBLE).await;
        let removed = run.lines().contains(&"DELETE configmaps/hello-config-old".to_owned());
        assert_eq!((removed, told(&run)), (goes, !goes), "{:?}", run.lines());
    }
}
