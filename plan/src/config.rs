//! What is to be thought of a plugin's configuration. Owns which schema it is judged by; what a
//! schema says is `forward-config`'s.

use forward_config::{Pointer, Schema, SchemaError, Violation, fill_defaults};
use forward_crds::{AnnouncedSchema, Plugin, PluginSpec};
use serde_json::{Map, Value};

/// The longest schema that a plugin may announce, in bytes: it stands in the plugin's status, which
/// everybody who watches plugins gets.
const LONGEST: usize = 64 * 1024;

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
        let schema = match (&plugin.spec.config_schema, announced(plugin)) {
            (Some(document), _) => match Schema::compile(&Value::Object(document.clone())) {
                Ok(schema) => schema,
                Err(error) => return Self::Broken(format!("spec.configSchema is no schema: {error}")),
            },
            // One that is none is not the manifest's fault; the gateway writes none, and says so.
            (None, Some(announced)) => match read_announced(&announced.schema) {
                Ok(schema) => schema,
                Err(_) => return Self::Unjudged,
            },
            (None, None) => return Self::Unjudged,
        };
        let pointers = plugin.spec.config_from.iter().map(|source| Pointer::try_from(source.path.clone()));
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
        let same_announced = announced(a) == announced(b);
        let (a, b) = (&a.spec, &b.spec);
        same_announced
            && a.config_schema == b.config_schema
            && a.config == b.config
            && a.config_from == b.config_from
    }
}

/// The schema that the plugin's image announced; none of another image's.
fn announced(plugin: &Plugin) -> Option<&AnnouncedSchema> {
    let announced = plugin.status.as_ref()?.config_schema.as_ref()?;
    (announced.image == plugin.spec.image).then_some(announced)
}

/// Why a plugin's announced schema is not used.
#[derive(Debug, thiserror::Error)]
pub enum AnnouncedSchemaError {
    /// It is longer than what a status should hold.
    #[error("it has {0} bytes, and {LONGEST} is the most")]
    TooLong(usize),
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is no schema.
    #[error(transparent)]
    NoSchema(#[from] SchemaError),
}

/// The schema that a plugin announces.
pub fn read_announced(text: &str) -> Result<Schema, AnnouncedSchemaError> {
    if text.len() > LONGEST {
        return Err(AnnouncedSchemaError::TooLong(text.len()));
    }
    let document: Value = serde_json::from_str(text).map_err(AnnouncedSchemaError::NotJson)?;
    Ok(Schema::compile(&document)?)
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
    fn goes_by_the_schema_that_the_same_image_announced() {
        let with = |image: &str, spec: Value| {
            let mut plugin = Plugin::clone(&plugin(spec));
            let schema = r#"{"required": ["a"]}"#.to_owned();
            let status = plugin.status.get_or_insert_default();
            status.config_schema = Some(AnnouncedSchema { image: image.to_owned(), schema });
            Arc::new(plugin)
        };
        assert!(matches!(ConfigVerdict::of(&with("a", json!({}))), ConfigVerdict::Violates(_)));
        assert_eq!(ConfigVerdict::of(&with("b", json!({}))), ConfigVerdict::Unjudged);
        assert_eq!(ConfigVerdict::of(&with("a", json!({"configSchema": {}}))), ConfigVerdict::Fits);
        let mut nothing_announced = Plugin::clone(&plugin(json!({})));
        nothing_announced.status.get_or_insert_default();
        let before =
            Facts::read(Arc::new(nothing_announced), Observed::default(), &Settings::default(), None);
        let after =
            Facts::read(with("a", json!({})), Observed::default(), &Settings::default(), Some(&before));
        assert!(after.violations().is_some() && after.differs_from(&before));
    }

    #[test]
    fn announced_schemas_are_refused_in_words() {
        let refused = |text: &str| read_announced(text).map(drop).map_err(|error| error.to_string());
        assert_eq!(refused("{}"), Ok(()));
        assert_eq!(refused(&" ".repeat(65_537)), Err("it has 65537 bytes, and 65536 is the most".to_owned()));
        assert_eq!(refused("{"), Err("it is not JSON".to_owned()));
        assert_eq!(refused("1"), Err("the schema: a schema is an object, found 1".to_owned()));
    }

    #[test]
    fn is_of_the_configuration_with_its_defaults() {
        let schema = json!({"properties": {"a": {"default": 0, "minimum": 1}}});
        let found = ConfigVerdict::of(&plugin(json!({"configSchema": schema})));
        let ConfigVerdict::Violates(violations) = found else { panic!("{found:?}") };
        assert_eq!(violations[0].to_string(), "/a: must be at least 1, found 0");
    }
}
