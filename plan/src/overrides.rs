//! Settings of single plugins that the operator's own environment overrides: which variable means
//! which field of which plugin, and what a plugin is with them. Owns the reading of names and
//! values; refuses to know where the variables come from.
//!
//! `GOFORWARD_PLUGINS_ENABLED` and `…_AUTO_RELOAD` concern every plugin, `GOFORWARD_PLUGINS_<NAME>_ENABLED`,
//! `…_PRIORITY` and `…_CONFIG_<KEY>` one: in `<NAME>` the plugin's letters are capitals and `-` is
//! `_`, so that no two plugins have the same. A variable can still be read in two ways, since
//! `A_CONFIG_B_ENABLED` is a key of plugin `a` and a field of plugin `a-config-b`. Where a namespace
//! has both plugins it counts for neither, and both say so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use forward_crds::{OverrideStatus, Plugin, PluginSpec, Reload};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What all variables start with.
pub const PREFIX: &str = "GOFORWARD_PLUGINS_";
/// Annotation on an effective plugin, which no API server sees, with the digest of what is overridden
/// of that which its objects are built from: they change with the variables, its generation does not.
pub const OVERRIDDEN: &str = "goforward.dev/overridden";
/// The lowest and the highest priority that a manifest may have.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1_000_000..=1_000_000;

/// All overrides, by the plugins that they may mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Of every plugin: whether it may be loaded.
    enabled: Option<bool>,
    /// Of every plugin: whether it may take a configuration while it runs.
    auto_reload: Option<bool>,
    /// In the order of the variables.
    by_plugin: BTreeMap<String, Vec<Override>>,
}

/// One way to read a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Override {
    variable: String,
    field: Field,
    text: String,
    /// The plugins that the other ways to read it mean.
    rivals: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Enabled,
    Priority,
    /// The key in capitals.
    Config(String),
}

/// A variable that overrides nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No field is meant.
    #[error(
        "\"{0}\" overrides nothing: what can be overridden is {PREFIX}ENABLED, {PREFIX}AUTO_RELOAD and, for one plugin, {PREFIX}<NAME>_ENABLED, {PREFIX}<NAME>_PRIORITY and {PREFIX}<NAME>_CONFIG_<KEY>"
    )]
    Unknown(String),
    /// A variable for every plugin is neither true nor false.
    #[error("{0} is \"{1}\"; it must be true or false")]
    NoBoolean(String, String),
}

/// A plugin as it is with the overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The plugin, with the values that count in its spec.
    pub plugin: Plugin,
    /// Where they come from, and which variables could not be heeded, by field.
    pub origins: Vec<OverrideStatus>,
}

/// Why a variable is not heeded, in words.
struct Unheeded(String);

impl Overrides {
    /// Read the variables that start with [`PREFIX`]; others are passed over. Besides the overrides
    /// the answer has what is wrong with variables that override nothing.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<OverrideError>) {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let (mut overrides, mut errors) = (Self::default(), Vec::new());
        for (variable, text) in variables {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let of_all = match rest {
                "ENABLED" => Some(&mut overrides.enabled),
                "AUTO_RELOAD" => Some(&mut overrides.auto_reload),
                _ => None,
            };
            if let Some(field) = of_all {
                *field = boolean(&text);
                if field.is_none() {
                    errors.push(OverrideError::NoBoolean(variable, text));
                }
                continue;
            }
            let readings = readings(rest);
            if readings.is_empty() {
                errors.push(OverrideError::Unknown(variable));
                continue;
            }
            let plugins: BTreeSet<String> = readings.iter().map(|(plugin, _)| plugin.clone()).collect();
            for (plugin, field) in readings {
                let rivals = plugins.iter().filter(|rival| **rival != plugin).cloned().collect();
                let found = Override { variable: variable.clone(), field, text: text.clone(), rivals };
                overrides.by_plugin.entry(plugin).or_default().push(found);
            }
        }
        (overrides, errors)
    }

    /// The plugins whose overrides depend on whether there is a plugin of that name.
    pub fn rivals(&self, name: &str) -> BTreeSet<String> {
        self.by_plugin.get(name).into_iter().flatten().flat_map(|it| it.rivals.iter().cloned()).collect()
    }

    /// A plugin with its overrides; nothing where it has none. `exists` tells whether its namespace
    /// has a plugin of a name.
    pub fn effective(&self, plugin: &Plugin, exists: impl Fn(&str) -> bool) -> Option<Effective> {
        let own = self.by_plugin.get(plugin.metadata.name.as_deref().unwrap_or_default());
        if self.enabled.is_none() && self.auto_reload.is_none() && own.is_none() {
            return None;
        }
        let mut effective = Effective { plugin: plugin.clone(), origins: Vec::new() };
        for it in own.into_iter().flatten() {
            let rival = it.rivals.iter().find(|rival| exists(rival));
            let heeded = match rival {
                Some(rival) => {
                    Err(Unheeded(format!("it can mean the plugin {rival} too, so it counts for neither")))
                }
                None => it.heed(&mut effective.plugin),
            };
            effective.origins.push(it.origin(heeded));
        }
        // What concerns all is above what concerns one: it is there to stop everything.
        if self.enabled == Some(false) {
            effective.plugin.spec.enabled = false;
            effective.note("enabled", "ENABLED", "false");
        }
        if self.auto_reload == Some(false) && plugin.spec.reload != Reload::Rolling {
            effective.plugin.spec.reload = Reload::Rolling;
            effective.note("reload", "AUTO_RELOAD", "Rolling");
        }
        effective.origins.sort_by(|a, b| a.field.cmp(&b.field));
        effective.sign(&plugin.spec);
        Some(effective)
    }
}

impl Effective {
    /// Note a variable for all plugins in place of others of the field.
    fn note(&mut self, field: &str, variable: &str, value: &str) {
        self.origins.retain(|origin| origin.field != field);
        self.origins.push(OverrideStatus {
            field: field.to_owned(),
            variable: format!("{PREFIX}{variable}"),
            value: Some(value.to_owned()),
            message: None,
        });
    }

    /// Note the digest of what is built from where that is not what the manifest says.
    fn sign(&mut self, manifest: &PluginSpec) {
        let Plugin { metadata, spec, .. } = &mut self.plugin;
        let annotations = metadata.annotations.get_or_insert_default();
        if spec.config == manifest.config && spec.reload == manifest.reload {
            annotations.remove(OVERRIDDEN);
        } else {
            let config = Value::Object(spec.config.clone().unwrap_or_default());
            let digest = Sha256::digest(format!("{:?} {config}", spec.reload).as_bytes());
            annotations.insert(
                OVERRIDDEN.to_owned(),
                digest[..5].iter().map(|byte| format!("{byte:02x}")).collect(),
            );
        }
    }
}

impl Override {
    /// Put the value into the spec. The answer is the value as the status may show it.
    fn heed(&self, plugin: &mut Plugin) -> Result<Option<String>, Unheeded> {
        let spec = &mut plugin.spec;
        match &self.field {
            Field::Enabled => {
                let wrong = || Unheeded(format!("its value \"{}\" is neither true nor false", self.text));
                spec.enabled = boolean(&self.text).ok_or_else(wrong)?;
                Ok(Some(spec.enabled.to_string()))
            }
            Field::Priority => {
                let priority = self.text.trim().parse().ok().filter(|it| PRIORITIES.contains(it));
                let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
                let wrong = || {
                    Unheeded(format!("its value \"{}\" is no whole number from {least} to {most}", self.text))
                };
                spec.priority = priority.ok_or_else(wrong)?;
                Ok(Some(spec.priority.to_string()))
            }
            Field::Config(key) => {
                let config = spec.config.get_or_insert_default();
                let key = known_key(config, key);
                let value = typed(&self.text, config.get(&key))?;
                config.insert(key, value);
                Ok(None)
            }
        }
    }

    fn origin(&self, heeded: Result<Option<String>, Unheeded>) -> OverrideStatus {
        let (value, message) = match heeded {
            Ok(value) => (value, None),
            Err(Unheeded(message)) => (None, Some(message)),
        };
        OverrideStatus { field: self.field.to_string(), variable: self.variable.clone(), value, message }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled => f.write_str("enabled"),
            Self::Priority => f.write_str("priority"),
            Self::Config(key) => write!(f, "config.{}", key.to_lowercase()),
        }
    }
}

/// Every way to read what follows the prefix, with the name of the plugin that it then means.
fn readings(rest: &str) -> Vec<(String, Field)> {
    let whole = [("_ENABLED", Field::Enabled), ("_PRIORITY", Field::Priority)];
    let whole = whole.into_iter().filter_map(|(end, field)| Some((rest.strip_suffix(end)?, field)));
    let keys = rest.match_indices("_CONFIG_").map(|(at, separator)| {
        let (plugin, key) = (&rest[..at], &rest[at + separator.len()..]);
        (plugin, Field::Config(key.to_owned()))
    });
    let is_key = |field: &Field| !matches!(field, Field::Config(key) if key.is_empty());
    let readings = whole.chain(keys).filter(|(_, field)| is_key(field));
    readings.filter_map(|(plugin, field)| Some((plugin_name(plugin)?, field))).collect()
}

/// The name of the plugin that is written so in variables.
fn plugin_name(text: &str) -> Option<String> {
    let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let ends = text.starts_with(|c: char| c.is_ascii_uppercase()) && !text.ends_with('_');
    (ends && text.chars().all(is_capital)).then(|| text.to_ascii_lowercase().replace('_', "-"))
}

/// The key of the configuration that is written so in variables: one that is there, else the same
/// in small letters.
fn known_key(config: &Map<String, Value>, capitals: &str) -> String {
    let spelled = |key: &str| -> String {
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    let known = config.keys().find(|key| spelled(key) == capitals);
    known.cloned().unwrap_or_else(|| capitals.to_ascii_lowercase())
}

/// The text as a value of the kind that it replaces. Where there is none, what reads as a number or
/// as true or false is that, and everything else a text.
fn typed(text: &str, before: Option<&Value>) -> Result<Value, Unheeded> {
    let read: Option<Value> = serde_json::from_str(text).ok();
    let (read, kind) = match before {
        Some(Value::String(_)) => return Ok(Value::from(text)),
        None | Some(Value::Null) => {
            let scalar = read.filter(|value| value.is_number() || value.is_boolean());
            return Ok(scalar.unwrap_or_else(|| Value::from(text)));
        }
        Some(Value::Bool(_)) => (read.filter(Value::is_boolean), "true or false"),
        Some(Value::Number(_)) => (read.filter(Value::is_number), "a number"),
        Some(Value::Array(_)) => (read.filter(Value::is_array), "a JSON array"),
        Some(Value::Object(_)) => (read.filter(Value::is_object), "a JSON object"),
    };
    // The value is not told: it may be a secret.
    read.ok_or_else(|| Unheeded(format!("its value must be {kind}, as the value in the manifest is")))
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Overrides {
        let named = variables.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        let (overrides, errors) = Overrides::read(named);
        assert_eq!(errors, []);
        overrides
    }

    fn plugin(name: &str, config: Value) -> Plugin {
        let spec = json!({"version": "1.0.0", "image": "a", "config": config});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    /// A plugin named pay-pal with overrides, and what they are from, in lines.
    fn effective(variables: &[(&str, &str)], config: Value, others: &[&str]) -> (Plugin, String) {
        let plugin = plugin("pay-pal", config);
        let exists = |name: &str| others.contains(&name);
        let effective = read(variables).effective(&plugin, exists).unwrap();
        let line = |it: OverrideStatus| {
            let said = it.message.or(it.value).unwrap_or_default();
            format!("{} < {}: {said}", it.field, it.variable.trim_start_matches(PREFIX))
        };
        let lines: Vec<_> = effective.origins.into_iter().map(line).collect();
        (effective.plugin, lines.join("\n"))
    }

    #[test]
    fn plugins_without_overrides_stay_as_they_are() {
        let overrides = read(&[("PAYPAL_ENABLED", "false"), ("ENABLED_PRIORITY", "1")]);
        assert_eq!(overrides.effective(&plugin("pay-pal", json!({})), |_| false), None);
        assert_eq!(Overrides::read([("PATH".to_owned(), "/".to_owned())]), (Overrides::default(), vec![]));
    }

    #[test]
    fn fields_and_keys_are_overridden_and_say_by_what() {
        let (plugin, origins) = effective(
            &[
                ("PAY_PAL_ENABLED", "false"),
                ("PAY_PAL_PRIORITY", "20"),
                ("PAY_PAL_CONFIG_API_KEY", "hunter2"),
                ("PAY_PAL_CONFIG_MAX_AMOUNT", "7"),
                ("PAY_PAL_CONFIG_NEW", "true"),
            ],
            json!({"api-key": "x", "max_amount": 5}),
            &[],
        );
        assert!(!plugin.spec.enabled);
        assert_eq!(plugin.spec.priority, 20);
        assert_eq!(
            Value::from(plugin.spec.config.unwrap()),
            json!({"api-key": "hunter2", "max_amount": 7, "new": true})
        );
        assert_eq!(
            origins,
            "config.api_key < PAY_PAL_CONFIG_API_KEY: \n\
             config.max_amount < PAY_PAL_CONFIG_MAX_AMOUNT: \n\
             config.new < PAY_PAL_CONFIG_NEW: \n\
             enabled < PAY_PAL_ENABLED: false\n\
             priority < PAY_PAL_PRIORITY: 20"
        );
    }

    #[test]
    fn values_that_cannot_be_leave_the_manifest_and_say_why() {
        let config = json!({"max_amount": 5, "features": {}});
        let (overridden, origins) = effective(
            &[
                ("PAY_PAL_ENABLED", "maybe"),
                ("PAY_PAL_PRIORITY", "1000001"),
                ("PAY_PAL_CONFIG_MAX_AMOUNT", "hunter2"),
                ("PAY_PAL_CONFIG_FEATURES", "[1]"),
            ],
            config.clone(),
            &[],
        );
        assert_eq!(overridden.spec, plugin("pay-pal", config).spec);
        assert_eq!(
            origins,
            "config.features < PAY_PAL_CONFIG_FEATURES: its value must be a JSON object, as the value in the manifest is\n\
             config.max_amount < PAY_PAL_CONFIG_MAX_AMOUNT: its value must be a number, as the value in the manifest is\n\
             enabled < PAY_PAL_ENABLED: its value \"maybe\" is neither true nor false\n\
             priority < PAY_PAL_PRIORITY: its value \"1000001\" is no whole number from -1000000 to 1000000"
        );
    }

    #[test]
    fn what_can_mean_two_plugins_counts_for_neither_where_both_are() {
        let variables = [("PAY_PAL_CONFIG_X_ENABLED", "true")];
        let (plugin, origins) = effective(&variables, json!({}), &[]);
        assert_eq!(plugin.spec.config, Some(json!({"x_enabled": true}).as_object().unwrap().clone()));
        assert_eq!(origins, "config.x_enabled < PAY_PAL_CONFIG_X_ENABLED: ");
        let (plugin, origins) = effective(&variables, json!({}), &["pay-pal-config-x"]);
        assert_eq!(plugin.spec.config, Some(Map::new()));
        assert_eq!(
            origins,
            "config.x_enabled < PAY_PAL_CONFIG_X_ENABLED: it can mean the plugin pay-pal-config-x too, so it counts for neither"
        );
        let overrides = read(&variables);
        assert_eq!(overrides.rivals("pay-pal"), ["pay-pal-config-x".to_owned()].into());
        assert_eq!(overrides.rivals("pay-pal-config-x"), ["pay-pal".to_owned()].into());
        assert_eq!(overrides.rivals("pay"), [].into());
    }

    #[test]
    fn everything_can_be_switched_off_at_once() {
        let switched =
            |all: &str| effective(&[("ENABLED", all), ("PAY_PAL_ENABLED", "true")], json!({}), &[]);
        let (plugin, origins) = switched("false");
        assert!(!plugin.spec.enabled);
        assert_eq!(origins, "enabled < ENABLED: false");
        let (plugin, origins) = switched("true");
        assert!(plugin.spec.enabled);
        assert_eq!(origins, "enabled < PAY_PAL_ENABLED: true");
    }

    #[test]
    fn no_plugin_is_reloaded_where_none_may_be() {
        let mut manifest = plugin("a", json!({}));
        let of_all = |value: &str| read(&[("AUTO_RELOAD", value)]);
        assert_eq!(of_all("false").effective(&manifest, |_| false).unwrap().origins, []);
        manifest.spec.reload = Reload::InPlace;
        let effective = of_all("false").effective(&manifest, |_| false).unwrap();
        assert_eq!(effective.plugin.spec.reload, Reload::Rolling);
        assert_eq!(effective.origins[0].value.as_deref(), Some("Rolling"));
        let allowed = of_all("true").effective(&manifest, |_| false).unwrap();
        assert_eq!(allowed.plugin.spec.reload, Reload::InPlace);
    }

    #[test]
    fn another_value_of_a_variable_is_another_revision() {
        let revision = |variables: &[(&str, &str)]| {
            let (plugin, _) = effective(variables, json!({"key": "x"}), &[]);
            crate::revision(&plugin, &crate::Settings::default())
        };
        let plain = revision(&[("PAY_PAL_PRIORITY", "1")]);
        assert_eq!(plain, "0-0", "nothing is built of a priority");
        assert_eq!(revision(&[("PAY_PAL_CONFIG_KEY", "x")]), plain, "it says what the manifest says");
        let (one, two) = (revision(&[("PAY_PAL_CONFIG_KEY", "1")]), revision(&[("PAY_PAL_CONFIG_KEY", "2")]));
        assert!(one != plain && two != plain && one != two, "{plain}, {one}, {two}");
    }

    #[test]
    fn variables_that_override_nothing_are_told() {
        let names = ["DIRECTORY", "PAY_PAL_CONFIG_", "_ENABLED", "pay_ENABLED", "1A_ENABLED", "A__PRIORITY"];
        for name in names {
            let variable = format!("{PREFIX}{name}");
            let (overrides, errors) = Overrides::read([(variable.clone(), "1".to_owned())]);
            assert_eq!((overrides, errors), (Overrides::default(), vec![OverrideError::Unknown(variable)]));
        }
        let variable = format!("{PREFIX}ENABLED");
        let (_, errors) = Overrides::read([(variable.clone(), "on".to_owned())]);
        assert_eq!(errors, [OverrideError::NoBoolean(variable, "on".to_owned())]);
    }
}
