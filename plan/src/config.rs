//! What is to be thought of a plugin's configuration. Owns which schema it is judged by; what a
//! schema says is `forward-config`'s.

use forward_config::{Pointer, Schema, Violation, fill_defaults};
use forward_crds::{Plugin, PluginSpec};
use serde_json::{Map, Value};

/// What is to be thought of a plugin's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigVerdict {
    /// There is no schema to judge it by.
    Unjudged,
    /// It fits its schema, as far as one can know without the values of `configFrom`.
    Fits,
    /// It does not, whatever those values are.
    Violates(Vec<Violation>),
    /// It cannot be judged, since what is to judge it is no schema.
    Broken(String),
}

impl ConfigVerdict {
    /// The verdict on a plugin.
    pub(crate) fn of(plugin: &Plugin) -> Self {
        let PluginSpec { config_from, config_schema, .. } = &plugin.spec;
        let Some(document) = config_schema else { return Self::Unjudged };
        let schema = match Schema::compile(&Value::Object(document.clone())) {
            Ok(schema) => schema,
            Err(error) => return Self::Broken(format!("spec.configSchema is no schema: {error}")),
        };
        let pointers = config_from.iter().map(|source| Pointer::try_from(source.path.clone()));
        let secrets: Vec<Pointer> = match pointers.collect() {
            Ok(secrets) => secrets,
            Err(error) => return Self::Broken(format!("a path of spec.configFrom is {error}")),
        };
        match schema.check_unread(&Value::Object(effective_config(&plugin.spec)), &secrets) {
            violations if violations.is_empty() => Self::Fits,
            violations => Self::Violates(violations),
        }
    }

    /// Whether two plugins get the same verdict because there is the same to judge.
    pub(crate) fn is_same_for(a: &Plugin, b: &Plugin) -> bool {
        let (a, b) = (&a.spec, &b.spec);
        a.config_schema == b.config_schema && a.config == b.config && a.config_from == b.config_from
    }
}

/// The configuration of a spec as the plugin gets it: with the defaults of the schema, without the
/// values of `configFrom`.
pub fn effective_config(spec: &PluginSpec) -> Map<String, Value> {
    let mut config = Value::Object(spec.config.clone().unwrap_or_default());
    if let Some(schema) = &spec.config_schema {
        fill_defaults(&Value::Object(schema.clone()), &mut config);
    }
    match config {
        Value::Object(config) => config,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        facts::Facts,
        model::{Observed, Settings},
    };

    fn plugin(spec: Value) -> Arc<Plugin> {
        let mut plugin = json!({"metadata": {"name": "a"}, "spec": {"version": "1.0.0", "image": "a"}});
        plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(plugin).unwrap())
    }

    #[test]
    fn is_given_again_only_where_there_is_something_else_to_judge() {
        let schema = json!({"required": ["a"]});
        let spec = json!({"config": {"b": 1}, "configSchema": schema});
        let read = |spec: Value, before| {
            Facts::read(plugin(spec), Observed::default(), &Settings::default(), before)
        };
        let first = read(spec.clone(), None);
        let pods_changed = read(spec, Some(&first));
        assert!(Arc::ptr_eq(&first.config, &pods_changed.config));
        for spec in [
            json!({"config": {"a": 1}, "configSchema": schema}),
            json!({"config": {"b": 1}, "configSchema": {}}),
            json!({"config": {"b": 1}, "configSchema": schema,
                   "configFrom": [{"path": "/a", "secretKeyRef": {"name": "s", "key": "k"}}]}),
        ] {
            assert_eq!(*read(spec, Some(&first)).config, ConfigVerdict::Fits);
        }
    }

    #[test]
    fn is_of_the_configuration_with_its_defaults() {
        let schema = json!({"properties": {"a": {"default": 0, "minimum": 1}}});
        let found = ConfigVerdict::of(&plugin(json!({"configSchema": schema})));
        let ConfigVerdict::Violates(violations) = found else { panic!("{found:?}") };
        assert_eq!(violations[0].to_string(), "/a: must be at least 1, found 0");
    }
}
