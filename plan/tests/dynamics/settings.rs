//! What an edit of the PluginSystem costs: those whom it changes, and nobody else.

use std::{collections::BTreeSet, sync::Arc};

use forward_crds::Plugin;
use forward_plan::{Decision, Namespace, Observed, Settings, revision};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    serving::serving,
    sketch::{Rules, rules},
};

/// Plugins that need nobody, so that what happens to one is of no concern to another: those that set
/// what others inherit, and all ways to run and not to run.
fn plugins() -> Vec<Arc<Plugin>> {
    let specs = [
        json!({}),
        json!({"sandbox": {"timeout": "5s"}}),
        json!({"sandbox": {"memory": "1Gi", "cpu": "1"}}),
        json!({"image": "registry.example/plugin:1"}),
        json!({"enabled": false}),
        json!({"suspend": true}),
    ];
    let plugin = |(index, spec): (usize, Value)| {
        let mut plugin = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": format!("p{index}"), "generation": 1},
            "spec": {"version": "1.0.0", "image": "example/plugin:1"},
        });
        plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(plugin).unwrap())
    };
    specs.into_iter().enumerate().map(plugin).collect()
}

/// Every plugin with what it is built from and what is decided on it.
fn outcomes(namespace: &Namespace, settings: &Settings) -> Vec<(String, String, Decision)> {
    let outcome = |plugin: Arc<Plugin>| {
        let name = plugin.metadata.name.clone().unwrap();
        let decision = namespace.decide(&name).unwrap();
        (name, revision(&plugin, settings), decision)
    };
    plugins().into_iter().map(outcome).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edit_of_the_settings_touches_exactly_those_whom_it_changes(
        before in rules(), after in rules(), runs in any::<u8>(),
    ) {
        // That everything goes off or on is told to all, those too that are off anyway.
        let (before, after) = (Rules { enabled: true, ..before }.settings(), Rules { enabled: true, ..after }.settings());
        let mut namespace = Namespace::new();
        namespace.configure(before.clone());
        for (index, plugin) in plugins().into_iter().enumerate() {
            let is_running = runs & (1 << index) != 0;
            let observed = if is_running { serving(&plugin, "1.0.0", &before) } else { Observed::default() };
            namespace.apply(plugin, observed);
        }
        let old = outcomes(&namespace, &before);
        let touched = namespace.configure(after.clone());
        let new = outcomes(&namespace, &after);
        let changed: BTreeSet<String> =
            old.into_iter().zip(new).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
        prop_assert_eq!(touched, changed);
    }
}

#[test]
fn switching_a_namespace_off_touches_all_its_plugins() {
    let mut namespace = Namespace::new();
    for plugin in plugins() {
        namespace.apply(plugin, Observed::default());
    }
    let off = Settings { enabled: false, ..Settings::default() };
    assert_eq!(namespace.configure(off.clone()).len(), plugins().len());
    assert!(namespace.configure(off).is_empty());
}
