//! Makes namespaces, many and fast.

use std::{collections::BTreeMap, sync::Arc};

use forward_crds::Plugin;
use forward_plan::{Namespace, Observed, Settings};
use serde_json::json;

use crate::serving;

/// What a plugin needs: a name and a range.
pub type Need = (&'static str, Option<&'static str>);

/// Plugins made before, since making one takes longer than deciding on it.
#[derive(Default)]
pub struct Plugins(BTreeMap<(&'static str, &'static str, Vec<Need>), Arc<Plugin>>);

impl Plugins {
    pub fn get(&mut self, name: &'static str, version: &'static str, needs: Vec<Need>) -> Arc<Plugin> {
        let made = self.0.entry((name, version, needs)).or_insert_with_key(|(name, version, needs)| {
            let needs: Vec<_> =
                needs.iter().map(|(name, range)| json!({"name": name, "version": range})).collect();
            let plugin = json!({
                "apiVersion": "goforward.dev/v1alpha1",
                "kind": "Plugin",
                "metadata": {"name": name, "generation": 2},
                "spec": {"version": version, "image": "example/plugin:1", "dependencies": needs},
            });
            Arc::new(serde_json::from_value(plugin).unwrap())
        });
        made.clone()
    }
}

/// Nothing runs.
pub fn at_rest(plugins: impl IntoIterator<Item = Arc<Plugin>>) -> Namespace {
    let mut namespace = Namespace::new();
    for plugin in plugins {
        namespace.apply(plugin, Observed::default());
    }
    namespace
}

/// One replica that serves `version`: the current spec, or an older one.
pub fn serving(plugin: &Plugin, version: &str) -> Observed {
    serving::serving(plugin, version, &Settings::default())
}
