//! What is wrong with a plugin in itself, whatever else there is, and cannot be said by a rule of the
//! API. Owns no rule about two plugins.

use std::fmt;

use forward_config::list;
use forward_crds::{Plugin, PluginSpec};
use semver::Version;

use crate::{
    config::{ConfigVerdict, Judged, has_same_config},
    middleware::flaw_of_schema,
    range::Range,
};

/// A field that cannot be as it is. `Display` says what is wrong and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The field, for example `spec.dependencies[0].version`.
    pub field: String,
    /// What is wrong with it, and what would do.
    pub message: String,
    part: Part,
}

/// The part of a spec that a flaw comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Version,
    Dependencies,
    /// `config`, `configSchema` and `configFrom`, of which each can be what is wrong with another.
    Config,
    Middleware,
}

impl Flaw {
    /// Whether a change of `before` into `plugin`, which has the flaw, leaves what it comes from as
    /// it was.
    pub fn is_left(&self, before: &Plugin, plugin: &Plugin) -> bool {
        let (before, now) = (&before.spec, &plugin.spec);
        match self.part {
            Part::Version => before.version == now.version,
            Part::Dependencies => before.dependencies == now.dependencies,
            Part::Config => has_same_config(before, now),
            Part::Middleware => {
                let entries = |spec: &PluginSpec| spec.http.as_ref().map(|http| http.middleware.clone());
                entries(before) == entries(now)
            }
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All flaws of a plugin, in the order of its fields. `judged` is what is thought of its
/// configuration, with its overrides.
pub fn flaws(plugin: &Plugin, judged: &Judged) -> Vec<Flaw> {
    let version = &plugin.spec.version;
    let mut flaws = Vec::new();
    if let Err(error) = Version::parse(version) {
        let message = format!("\"{version}\" is not a version: {error}; write it like 1.2.0");
        flaws.push(Flaw { field: "spec.version".to_owned(), message, part: Part::Version });
    }
    for (place, dependency) in plugin.spec.dependencies.iter().enumerate() {
        let Some(text) = &dependency.version else { continue };
        let name = &dependency.name;
        let message = match Range::parse(text) {
            Err(error) => {
                format!(
                    "the range \"{text}\" for {name} is not one: {error}; write it like ^1.2 or >=1.2, <3"
                )
            }
            Ok(range) if range.is_empty() => format!(
                "no version is in the range \"{text}\" for {name}; write one that has some, like ^1.2 or >=1.2, <3"
            ),
            Ok(_) => continue,
        };
        let field = format!("spec.dependencies[{place}].version");
        flaws.push(Flaw { field, message, part: Part::Dependencies });
    }
    flaws.extend(schema_flaws(plugin));
    flaws.extend(config_flaw(plugin, judged));
    flaws
}

/// Schemas of middleware that are none.
fn schema_flaws(plugin: &Plugin) -> impl Iterator<Item = Flaw> {
    let entries = plugin.spec.http.iter().flat_map(|http| http.middleware.iter().enumerate());
    entries.filter_map(|(place, entry)| {
        let error = flaw_of_schema(&entry.validate.as_ref()?.body.schema)?;
        let field = format!("spec.http.middleware[{place}].validate.body.schema");
        Some(Flaw { field, message: format!("it is no schema: {error}"), part: Part::Middleware })
    })
}

/// What is wrong with the configuration, by the plugin's own word: a schema that its image announced
/// is the word of another.
fn config_flaw(plugin: &Plugin, Judged { verdict, unknown }: &Judged) -> Option<Flaw> {
    let (field, message) = match verdict {
        ConfigVerdict::Broken(message) => match message.strip_prefix("spec.configSchema is ") {
            Some(what) => ("spec.configSchema", format!("it is {what}")),
            None => ("spec.configFrom", message.clone()),
        },
        ConfigVerdict::Violates(violations) if plugin.spec.config_schema.is_some() => {
            let unknown = match unknown.is_empty() {
                true => String::new(),
                false => format!("; the schema does not know {unknown}"),
            };
            let wrong = list(violations);
            let message =
                format!("it does not fit spec.configSchema: {wrong}{unknown}; correct it, or the schema");
            ("spec.config", message)
        }
        ConfigVerdict::Violates(_) | ConfigVerdict::Fits | ConfigVerdict::Unjudged => return None,
    };
    Some(Flaw { field: field.to_owned(), message, part: Part::Config })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(version: &str, ranges: &[Option<&str>]) -> Vec<String> {
        let need = |(place, range)| json!({"name": format!("d{place}"), "version": range});
        let needs: Vec<_> = ranges.iter().enumerate().map(need).collect();
        let spec = json!({"version": version, "image": "a", "dependencies": needs});
        let plugin = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        flaws(&plugin, &Judged::of(&plugin)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_each_field_that_cannot_be_and_what_would_do() {
        assert_eq!(found("1.0.0", &[None, Some("^1"), Some(">=1.0.0-rc.1, <1.0.0")]), [""; 0]);
        assert_eq!(
            found("1", &[Some("1"), Some(">=2, <1"), Some("^99999999999999999999")]),
            [
                "spec.version: \"1\" is not a version: unexpected end of input while parsing major version number; write it like 1.2.0",
                "spec.dependencies[1].version: no version is in the range \">=2, <1\" for d1; write one that has some, like ^1.2 or >=1.2, <3",
                "spec.dependencies[2].version: the range \"^99999999999999999999\" for d2 is not one: value of major version number exceeds u64::MAX; write it like ^1.2 or >=1.2, <3",
            ]
        );
    }

    #[test]
    fn names_the_schema_of_an_entry_that_is_none() {
        let with = |schema: serde_json::Value, version: &str| -> Plugin {
            let entry = json!({"name": "orders", "validate": {"body": {"schema": schema}}});
            let spec = json!({"version": version, "image": "a", "http": {"middleware": [entry]}});
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
        };
        let plugin = with(json!({"type": "text"}), "1.0.0");
        let flaws = flaws(&plugin, &Judged::of(&plugin));
        assert_eq!(
            flaws.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.http.middleware[0].validate.body.schema: it is no schema: /type: \"text\" is no type: there are array, boolean, integer, null, number, object and string"
            ]
        );
        assert!(flaws[0].is_left(&with(json!({"type": "text"}), "1.1.0"), &plugin));
        assert!(!flaws[0].is_left(&with(json!({}), "1.0.0"), &plugin));
    }

    #[test]
    fn is_left_by_a_change_of_anything_else() {
        let with = |version: &str, range: &str, config: serde_json::Value, replicas: i32| -> Plugin {
            let need = json!([{"name": "b", "version": range}]);
            let mut spec = json!({"version": version, "image": "a", "dependencies": need, "replicas": replicas,
                                  "configSchema": {"required": ["a"]}});
            spec.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
        };
        let plugin = with("1", ">=2, <1", json!({}), 1);
        let left = |before: &Plugin| -> Vec<bool> {
            let flaws = flaws(&plugin, &Judged::of(&plugin));
            flaws.iter().map(|flaw| flaw.is_left(before, &plugin)).collect()
        };
        assert_eq!(left(&with("1", ">=2, <1", json!({}), 2)), [true, true, true]);
        assert_eq!(left(&with("2", ">=2, <1", json!({}), 1)), [false, true, true]);
        assert_eq!(left(&with("1", ">=3, <1", json!({}), 1)), [true, false, true]);
        let source = json!([{"path": "/b", "secretKeyRef": {"name": "s", "key": "k"}}]);
        for config in
            [json!({"config": {"b": 1}}), json!({"configSchema": {}}), json!({"configFrom": source})]
        {
            assert_eq!(left(&with("1", ">=2, <1", config, 1)), [true, true, false]);
        }
    }
}
