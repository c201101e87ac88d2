//! An event costs what it affects, however large the namespace.

use std::{collections::BTreeSet, sync::Arc};

use forward_crds::Plugin;
use forward_plan::{Namespace, Observed, Settings, Workload, revision};
use serde_json::json;

const PLUGINS: usize = 10_000;
/// Each group is a chain of this many plugins.
const CHAIN: usize = 10;

fn name(index: usize) -> String {
    format!("p{index}")
}

fn plugin(index: usize, generation: i64) -> Arc<Plugin> {
    let needs = if index.is_multiple_of(CHAIN) { vec![] } else { vec![json!({"name": name(index - 1)})] };
    let plugin = json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name(index), "generation": generation},
        "spec": {"version": "1.0.0", "image": "example/plugin:1", "dependencies": needs},
    });
    Arc::new(serde_json::from_value(plugin).unwrap())
}

fn running(plugin: &Plugin, ready: i32) -> Observed {
    let workload = Workload {
        revision: revision(plugin, &Settings::default()).into(),
        version: "1.0.0".into(),
        replicas: 1,
        total_replicas: 1,
        updated_replicas: 1,
        ready_replicas: ready,
        rolled_out: ready == 1,
        ..Workload::default()
    };
    Observed { workload: Some(workload), ..Observed::default() }
}

fn large() -> Namespace {
    let mut namespace = Namespace::new();
    for index in 0..PLUGINS {
        let plugin = plugin(index, 1);
        let observed = running(&plugin, 1);
        namespace.apply(plugin, observed);
    }
    namespace
}

fn names(indices: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    indices.into_iter().map(name).collect()
}

#[test]
fn event_in_a_large_namespace_touches_only_its_dependents() {
    let mut namespace = large();
    let (middle, generation) = (plugin(5_005, 1), plugin(5_005, 2));
    let before = namespace.assessed();
    // A pod is lost: who needs the plugin is told.
    assert_eq!(namespace.apply(middle.clone(), running(&middle, 0)), names([5_005, 5_006]));
    assert_eq!(namespace.apply(middle.clone(), running(&middle, 1)), names([5_005, 5_006]));
    // The same again: nobody.
    assert_eq!(namespace.apply(middle.clone(), running(&middle, 1)), names([]));
    // An edit, which those who run do not wait for.
    assert_eq!(namespace.apply(generation, running(&middle, 1)), names([5_005, 5_006]));
    assert!(namespace.assessed() - before <= 6, "{} plugins were looked at", namespace.assessed() - before);
}

#[test]
fn loss_of_a_plugin_reaches_all_who_wait_for_it_and_nobody_else() {
    let mut namespace = Namespace::new();
    for index in (0..PLUGINS).rev() {
        namespace.apply(plugin(index, 1), Observed::default());
    }
    let before = namespace.assessed();
    assert_eq!(namespace.remove(&name(5_000)).range(name(5_001)..=name(5_009)).count(), 9);
    // The last of the chain hears of it by way of all others. Who waited for its slot may go.
    assert!(namespace.assessed() - before <= 10, "{} plugins were looked at", namespace.assessed() - before);
}

#[test]
fn dependents_of_a_hub_come_up_without_looking_at_the_hub_again() {
    let mut namespace = Namespace::new();
    let hub = plugin(0, 1);
    namespace.apply(hub.clone(), running(&hub, 1));
    let before = namespace.assessed();
    for index in 0..PLUGINS {
        let mut dependent = Plugin::clone(&plugin(1, 1));
        dependent.metadata.name = Some(format!("dependent-{index}"));
        let observed = running(&dependent, 1);
        assert!(!namespace.apply(Arc::new(dependent), observed).contains(&name(0)));
    }
    assert_eq!(namespace.assessed() - before, PLUGINS as u64);
}

#[test]
fn conflict_of_thousands_is_told_again_to_nobody_whose_message_stays() {
    let mut namespace = Namespace::new();
    let mut hub = Plugin::clone(&plugin(0, 1));
    hub.spec.version = "3.0.0".to_owned();
    namespace.apply(Arc::new(hub), Observed::default());
    let template = serde_json::to_value(&*plugin(1, 1)).unwrap();
    for index in 0..PLUGINS {
        let mut dependent = template.clone();
        let name = format!("dependent-{index:05}");
        dependent["metadata"]["name"] = json!(name);
        dependent["spec"]["dependencies"][0]["version"] = json!("^1");
        let before = namespace.assessed();
        let touched =
            namespace.apply(Arc::new(serde_json::from_value(dependent).unwrap()), Observed::default());
        // The first can still say so for themselves, and with the second one edit is no longer
        // as good as another.
        let expected = if index < 2 { index + 1 } else { 1 };
        assert_eq!((touched.len(), touched.contains(&name)), (expected, true), "{touched:?}");
        assert_eq!(namespace.assessed() - before, 1);
    }
}
