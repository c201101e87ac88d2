//! What is to be thought of a plugin's configuration. Owns which schema it is judged by; what a
//! schema says is `forward-config`'s.

use std::fmt;

use forward_config::{Pointer, Schema, SchemaError, Violation, fill_defaults};
use forward_crds::{AnnouncedSchema, Document, Plugin, PluginSpec};
use serde_json::{Map, Value};

use crate::overrides::overridden_keys;

/// How many unknown fields a sentence lists, and how many characters of each.
const LISTED: usize = 16;
const SHOWN: usize = 100;

/// The longest schema that a plugin may announce, in bytes: it stands in the plugin's status, which
/// everybody who watches plugins gets.
const LONGEST: usize = 64 * 1024;

/// What is to be thought of a plugin's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it fits.
    pub verdict: ConfigVerdict,
    /// What of it the schema does not know, other than what the verdict names.
    pub unknown: Unknown,
}

/// Fields of a configuration that no part of its schema speaks of, sorted. `Display` lists them; of
/// very many the first, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown(Vec<Pointer>);

/// Whether a configuration fits its schema.
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

impl Judged {
    /// The judgement on a plugin.
    pub fn of(plugin: &Plugin) -> Self {
        let schema = match (&plugin.spec.config_schema, announced(plugin)) {
            (Some(document), _) => match Schema::compile(&Value::Object(document.read())) {
                Ok(schema) => schema,
                Err(error) => return Self::broken(format!("spec.configSchema is no schema: {error}")),
            },
            // One that is none is not the manifest's fault; the gateway writes none, and says so.
            (None, Some(announced)) => match read_announced(&announced.schema) {
                Ok(schema) => schema,
                Err(_) => return ConfigVerdict::Unjudged.into(),
            },
            (None, None) => return ConfigVerdict::Unjudged.into(),
        };
        let pointers = plugin.spec.config_from.iter().map(|source| Pointer::try_from(source.path.clone()));
        let secrets: Vec<Pointer> = match pointers.collect() {
            Ok(secrets) => secrets,
            Err(error) => return Self::broken(format!("a path of spec.configFrom is {error}")),
        };
        let violations = schema.check_unread(&Value::Object(effective_config(&plugin.spec)), &secrets);
        let violations = attributed(violations, plugin);
        let written = Value::Object(read(plugin.spec.config.as_ref()));
        let mut unknown = schema.unknown_keys(&written, &secrets);
        unknown.retain(|key| !violations.iter().any(|violation| violation.pointer == *key));
        let verdict =
            if violations.is_empty() { ConfigVerdict::Fits } else { ConfigVerdict::Violates(violations) };
        Self { verdict, unknown: Unknown(unknown) }
    }

    fn broken(message: String) -> Self {
        ConfigVerdict::Broken(message).into()
    }

    /// Whether two plugins are judged alike because there is the same to judge.
    pub(crate) fn is_same_for(a: &Plugin, b: &Plugin) -> bool {
        announced(a) == announced(b)
            && overridden_keys(a) == overridden_keys(b)
            && has_same_config(&a.spec, &b.spec)
    }
}

impl From<ConfigVerdict> for Judged {
    fn from(verdict: ConfigVerdict) -> Self {
        Self { verdict, unknown: Unknown::default() }
    }
}

impl Unknown {
    /// Whether the schema knows everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |key: &Pointer| -> String {
            let key = key.to_string();
            key.char_indices().nth(SHOWN).map_or(key.clone(), |(end, _)| format!("{}…", &key[..end]))
        };
        let shown: Vec<String> = self.0.iter().take(LISTED).map(shown).collect();
        f.write_str(&shown.join(", "))?;
        let more = self.0.len() - shown.len();
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// Whether two specs say the same of their configuration.
pub(crate) fn has_same_config(a: &PluginSpec, b: &PluginSpec) -> bool {
    a.config_schema == b.config_schema && a.config == b.config && a.config_from == b.config_from
}

/// Violations that name the variable of the operator by which a value is there. Such a value is not
/// shown: who may see the plugin may not see the operator's variables.
fn attributed(mut violations: Vec<Violation>, plugin: &Plugin) -> Vec<Violation> {
    let overridden = overridden_keys(plugin);
    for Violation { pointer, rule, value } in &mut violations {
        match pointer.segments().first() {
            None if !overridden.is_empty() => *value = None,
            None => {}
            Some(key) => {
                if let Some(variable) = overridden.get(key) {
                    *rule = format!("{rule}, and {variable} of the operator overrides it");
                    *value = None;
                }
            }
        }
    }
    violations
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

/// The fields of a configuration; none where there is none.
pub(crate) fn read(config: Option<&Document>) -> Map<String, Value> {
    config.map(Document::read).unwrap_or_default()
}

/// The configuration of a spec as the plugin gets it: with the defaults of the schema, without the
/// values of `configFrom`.
pub fn effective_config(spec: &PluginSpec) -> Map<String, Value> {
    let mut config = Value::Object(read(spec.config.as_ref()));
    if let Some(schema) = &spec.config_schema {
        fill_defaults(&Value::Object(schema.read()), &mut config);
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
        overrides::Overrides,
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
            assert_eq!(read(spec, Some(&first)).config.verdict, ConfigVerdict::Fits);
        }
    }

    #[test]
    fn goes_by_the_schema_that_the_same_image_announced() {
        let with = |image: &str, spec: Value| {
            let mut plugin = Plugin::clone(&plugin(spec));
            let schema = r#"{"required": ["a"]}"#.to_owned();
            let status = plugin.status.get_or_insert_default();
            status.config_schema = Some(AnnouncedSchema { image: image.to_owned(), schema }.into());
            Arc::new(plugin)
        };
        let verdict = |plugin: &Plugin| Judged::of(plugin).verdict;
        assert!(matches!(verdict(&with("a", json!({}))), ConfigVerdict::Violates(_)));
        assert_eq!(verdict(&with("b", json!({}))), ConfigVerdict::Unjudged);
        assert_eq!(verdict(&with("a", json!({"configSchema": {}}))), ConfigVerdict::Fits);
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
        assert_eq!(violations(&plugin(json!({"configSchema": schema}))), ["/a: must be at least 1, found 0"]);
    }

    fn violations(plugin: &Plugin) -> Vec<String> {
        match Judged::of(plugin).verdict {
            ConfigVerdict::Violates(violations) => violations.iter().map(ToString::to_string).collect(),
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn says_which_variable_a_wrong_value_is_from_and_not_the_value() {
        let variable = ("GOFORWARD_PLUGINS_A_CONFIG_TOKEN".to_owned(), "hunter2".to_owned());
        let (overrides, _) = Overrides::read([variable]);
        let schema = json!({"maxProperties": 1, "properties": {"token": {"maxLength": 3}, "port": {"type": "integer"}}});
        let config = json!({"token": "abc", "port": "x"});
        let manifest = plugin(json!({"config": config, "configSchema": schema}));
        let effective = overrides.effective(&manifest, |_| false).unwrap().plugin;
        assert_eq!(
            violations(&effective),
            [
                "the configuration: must have at most 1 field",
                "/port: must be a whole number, found \"x\"",
                "/token: must have at most 3 characters, and GOFORWARD_PLUGINS_A_CONFIG_TOKEN of the operator overrides it",
            ]
        );
        assert!(!Judged::is_same_for(&manifest, &effective));
    }

    #[test]
    fn that_a_variable_says_what_the_manifest_says_is_another_message() {
        let variable = ("GOFORWARD_PLUGINS_A_CONFIG_TOKEN".to_owned(), "long".to_owned());
        let (overrides, _) = Overrides::read([variable]);
        let schema = json!({"properties": {"token": {"maxLength": 3}}});
        let mut manifest =
            Plugin::clone(&plugin(json!({"config": {"token": "long"}, "configSchema": schema})));
        manifest.metadata.annotations = Some(Default::default());
        let effective = overrides.effective(&manifest, |_| false).unwrap().plugin;
        assert_eq!(effective.spec, manifest.spec);
        let read =
            |plugin: Plugin| Facts::read(Arc::new(plugin), Observed::default(), &Settings::default(), None);
        assert!(read(manifest).differs_from(&read(effective)));
    }

    #[test]
    fn what_no_schema_knows_is_told_once_and_not_of_defaults() {
        let unknown = |schema: Value, config: Value| {
            Judged::of(&plugin(json!({"config": config, "configSchema": schema}))).unknown.to_string()
        };
        let schema = json!({"properties": {"a": {"default": {"b": 1}, "properties": {}}}});
        assert_eq!(unknown(schema.clone(), json!({})), "", "what is from a default");
        assert_eq!(unknown(schema, json!({"a": {"b": 1}, "aa": 1})), "/a/b, /aa");
        let closed = json!({"properties": {}, "additionalProperties": false});
        assert_eq!(unknown(closed, json!({"a": 1})), "", "it is a violation");
        let many: Map<String, Value> =
            (0..20).map(|n| (format!("{}{n}", "k".repeat(200)), Value::Null)).collect();
        let text = unknown(json!({"properties": {}}), Value::Object(many));
        assert!(text.ends_with("k… and 4 more") && text.len() < 2_000, "{text}");
    }
}
