//! What is wrong with a plugin in itself, whatever else there is, and cannot be said by a rule of the
//! API. Owns no rule about two plugins.

use std::fmt;

use forward_crds::Plugin;
use semver::Version;

use crate::{config::ConfigVerdict, range::Range};

/// A field that cannot be as it is. `Display` says what is wrong and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The field, for example `spec.dependencies[0].version`.
    pub field: String,
    /// What is wrong with it, and what would do.
    pub message: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All flaws of a plugin, in the order of its fields.
pub fn flaws(plugin: &Plugin) -> Vec<Flaw> {
    let version = &plugin.spec.version;
    let mut flaws = Vec::new();
    if let Err(error) = Version::parse(version) {
        let message = format!("\"{version}\" is not a version: {error}; write it like 1.2.0");
        flaws.push(Flaw { field: "spec.version".to_owned(), message });
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
        flaws.push(Flaw { field: format!("spec.dependencies[{place}].version"), message });
    }
    if let ConfigVerdict::Broken(message) = ConfigVerdict::of(plugin) {
        flaws.push(match message.strip_prefix("spec.configSchema is ") {
            Some(what) => Flaw { field: "spec.configSchema".to_owned(), message: format!("it is {what}") },
            None => Flaw { field: "spec.configFrom".to_owned(), message },
        });
    }
    flaws
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
        flaws(&plugin).iter().map(ToString::to_string).collect()
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
}
