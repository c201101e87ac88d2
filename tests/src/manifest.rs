//! Plugins as tests write them.

use std::collections::BTreeMap;

use forward_crds::{Dependency, Plugin, Word};
use serde_json::{Map, Value, json};

/// The plugin whose behaviour its configuration decides; it is there under the tags 1.0.0, 1.1.0
/// and 2.0.0.
const TESTBED: &str = "forward.local/testbed";

/// A plugin that a test makes, by default the test plugin in version 1.0.0.
#[derive(Clone, Debug)]
pub struct PluginBuilder {
    name: String,
    spec: Map<String, Value>,
    config: Map<String, Value>,
    dependencies: BTreeMap<String, Dependency>,
    annotations: BTreeMap<String, String>,
}

/// A plugin that runs the test plugin's image. Where it is applied, its routes come under
/// [`TestNamespace::path`](crate::TestNamespace::path).
pub fn plugin(name: &str) -> PluginBuilder {
    let builder = PluginBuilder {
        name: name.to_owned(),
        spec: Map::new(),
        config: Map::new(),
        dependencies: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    builder
        .version("1.0.0")
        .image(&format!("{TESTBED}:1.0.0"))
        .set("sandbox", json!({"memory": "64Mi", "cpu": "100m"}))
}

impl PluginBuilder {
    /// Set a field of the spec.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec.insert(field.to_owned(), value.into());
        self
    }

    /// Set a field of the configuration.
    pub fn config(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config.insert(field.to_owned(), value.into());
        self
    }

    /// The version it says it has; the image stays.
    pub fn version(self, version: &str) -> Self {
        self.set("version", version)
    }

    /// The image it runs.
    pub fn image(self, image: &str) -> Self {
        self.set("image", image)
    }

    /// Who goes first.
    pub fn priority(self, priority: i32) -> Self {
        self.set("priority", priority)
    }

    /// How many pods it has.
    pub fn replicas(self, replicas: i32) -> Self {
        self.set("replicas", replicas)
    }

    /// It needs another plugin, in any version.
    pub fn needs(self, name: &str) -> Self {
        self.depends(name, None, false)
    }

    /// It needs another plugin in a version of a range.
    pub fn needs_version(self, name: &str, range: &str) -> Self {
        self.depends(name, Some(range), false)
    }

    /// It uses another plugin where there is one.
    pub fn uses(self, name: &str) -> Self {
        self.depends(name, None, true)
    }

    /// Set an annotation of the Plugin.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The name of the plugin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object to apply, with its routes under `prefix` unless it says otherwise.
    pub fn build(&self, prefix: &str) -> Plugin {
        let mut spec = self.spec.clone();
        let mut config = self.config.clone();
        config.entry("prefix").or_insert_with(|| prefix.into());
        spec.insert("config".to_owned(), config.into());
        let mut plugin = Plugin::new(
            &self.name,
            serde_json::from_value(spec.into()).expect("a test sets fields that a Plugin has"),
        );
        plugin.spec.dependencies = self.dependencies.values().cloned().collect();
        if !self.annotations.is_empty() {
            plugin.metadata.annotations = Some(self.annotations.clone());
        }
        plugin
    }

    fn depends(mut self, name: &str, version: Option<&str>, optional: bool) -> Self {
        let dependency = Dependency { name: name.into(), version: version.map(Word::from), optional };
        self.dependencies.insert(name.to_owned(), dependency);
        self
    }
}
