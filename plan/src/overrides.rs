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

use crate::config::read;

/// What all variables start with.
const PREFIX: &str = "GOFORWARD_PLUGINS_";
/// Annotation on an effective plugin, which no API server sees, with the digest of what is overridden
/// of that which its objects are built from: they change with the variables, its generation does not.
pub const OVERRIDDEN: &str = "goforward.dev/overridden";
/// Annotation on an effective plugin with the keys of `config` that are overridden and by which
/// variables, as a JSON object.
const OVERRIDDEN_KEYS: &str = "goforward.dev/overridden-keys";
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
    /// The keys of `config` that are overridden, and by which variables.
    keys: BTreeMap<String, String>,
}

/// Why a variable is not heeded, in words.
struct Unheeded(String);

impl Overrides {
    /// Read the variables that start with `GOFORWARD_PLUGINS_`; others are passed over. Besides the overrides
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
        let mut effective = Effective { plugin: plugin.clone(), origins: Vec::new(), keys: BTreeMap::new() };
        for it in own.into_iter().flatten() {
            let rival = it.rivals.iter().find(|rival| exists(rival));
            let heeded = match rival {
                Some(rival) => {
                    Err(Unheeded(format!("it can mean the plugin {rival} too, so it counts for neither")))
                }
                None => it.heed(&mut effective),
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
        annotations.remove(OVERRIDDEN_KEYS);
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|(key, variable)| (key.clone(), Value::from(variable.clone())));
            annotations.insert(OVERRIDDEN_KEYS.to_owned(), Value::Object(keys.collect()).to_string());
        }
        if spec.config == manifest.config && spec.reload == manifest.reload {
            annotations.remove(OVERRIDDEN);
        } else {
            let config = Value::Object(read(spec.config.as_ref()));
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
    fn heed(&self, effective: &mut Effective) -> Result<Option<String>, Unheeded> {
        let spec = &mut effective.plugin.spec;
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
                let mut config = read(spec.config.as_ref());
                let key = known_key(&config, key);
                let value = typed(&self.text, config.get(&key))?;
                config.insert(key.clone(), value);
                spec.config = Some(config.into());
                effective.keys.insert(key, self.variable.clone());
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

/// The keys of an effective plugin's `config` that variables override, with those variables.
pub(crate) fn overridden_keys(plugin: &Plugin) -> BTreeMap<String, String> {
    let annotations = plugin.metadata.annotations.as_ref();
    let keys = annotations.and_then(|annotations| annotations.get(OVERRIDDEN_KEYS));
    // One that somebody wrote by hand is none of ours, and says nothing.
    keys.and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default()
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
mod tests;
