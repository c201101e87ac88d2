//! A plugin's configuration: `config.json` with the values of `config-from.json` put into it, judged
//! by `config-schema.json`, read into the plugin's own type.
//!
//! Invariant: no value that `config-from.json` puts into the configuration gets into an error, since
//! any of them may be a secret.

use std::{collections::BTreeSet, fmt, fs, io, path::Path};

use forward_config::{PlaceError, Pointer, Schema, SchemaError, Violation, list, place};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::document::{self, Problem};

/// The file with the schema that the manifest has for the configuration.
const SCHEMA: &str = "config-schema.json";

/// An entry of `config-from.json`: where the content of a file belongs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    path: Pointer,
    file: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read \"{file}\"")]
    Read { file: String, source: io::Error },
    #[error("\"{file}\" is not what the contract says, at line {line}, column {column}")]
    Malformed { file: String, line: usize, column: usize },
    #[error("\"{file}\" for {pointer} is not UTF-8")]
    NotUtf8 { file: String, pointer: Pointer },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("\"{SCHEMA}\" is no schema: {0}")]
    Schema(SchemaError),
    #[error("the plugin's own schema is none: {0}")]
    OwnSchema(SchemaError),
    #[error("{}", list(.0))]
    DoesNotFit(Vec<Violation>),
    #[error("{0}")]
    Refused(Problems),
}

/// Everything that is wrong with a configuration, as far as one can know.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Reads the configuration in a folder. No `config.json`, as outside Kubernetes, is the same as an
/// empty one. It has to fit the plugin's `own` schema too, whose defaults the type knows by itself.
pub fn load<C: DeserializeOwned>(folder: &Path, own: Option<Value>) -> Result<C, ConfigError> {
    let mut config = read_json::<Map<String, Value>>(folder, "config.json")?.map(Value::Object);
    let config = config.get_or_insert_with(|| Value::Object(Map::new()));
    let schema = read_json::<Value>(folder, SCHEMA)?;
    let schema = schema.as_ref().map(Schema::compile).transpose().map_err(ConfigError::Schema)?;
    if let Some(schema) = &schema {
        schema.defaults_into(config);
    }
    let sources: Vec<Source> = read_json(folder, "config-from.json")?.unwrap_or_default();
    let mut secrets = Vec::new();
    for Source { path, file } in sources {
        let text = read_text(folder, &file, &path)?;
        place(config, &path, text)?;
        secrets.push(path);
    }
    let own = own.as_ref().map(Schema::compile).transpose().map_err(ConfigError::OwnSchema)?;
    let schemas = schema.iter().chain(&own);
    let violations: BTreeSet<_> = schemas.flat_map(|schema| schema.check(config, &secrets)).collect();
    let violations: Vec<Violation> = violations.into_iter().collect();
    if !violations.is_empty() {
        return Err(ConfigError::DoesNotFit(violations));
    }
    document::deserialize(config, &secrets).map_err(|problems| ConfigError::Refused(Problems(problems)))
}

/// What a file of `config-from.json` held, or nothing where it could not be read.
pub type Content = Option<Vec<u8>>;

/// The contents of all files that `config-from.json` names, to be compared with those of another time.
pub fn contents(folder: &Path) -> Vec<Content> {
    let sources: Option<Vec<Source>> = read_json(folder, "config-from.json").ok().flatten();
    sources.into_iter().flatten().map(|source| fs::read(folder.join(source.file)).ok()).collect()
}

fn read_json<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>, ConfigError> {
    let content = match fs::read(folder.join(file)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ConfigError::Read { file: file.to_owned(), source }),
    };
    // The parser's own message is left out: it can quote what it read.
    serde_json::from_slice(&content).map(Some).map_err(|error| ConfigError::Malformed {
        file: file.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

fn read_text(folder: &Path, file: &str, pointer: &Pointer) -> Result<String, ConfigError> {
    let content =
        fs::read(folder.join(file)).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    String::from_utf8(content)
        .map_err(|_| ConfigError::NotUtf8 { file: file.to_owned(), pointer: pointer.clone() })
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        for (number, problem) in problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Payments {
        #[serde(default = "currency")]
        currency: String,
        stripe: Option<Stripe>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Stripe {
        key: String,
        retries: Option<u8>,
    }

    fn currency() -> String {
        "USD".to_owned()
    }

    /// A folder that goes away with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[(&str, &[u8])]) -> Self {
            let folder = std::env::temp_dir().join(format!("forward-sdk-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("from")).unwrap();
            for (file, content) in files {
                fs::write(folder.join(file), content).unwrap();
            }
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn without_files_defaults_are_the_configuration() {
        let config: Payments = load(Path::new("/nowhere"), None).unwrap();
        assert_eq!(config, Payments { currency: "USD".to_owned(), stripe: None });
    }

    #[test]
    fn places_files_into_the_configuration() {
        let folder = Folder::with(
            "places",
            &[
                ("config.json", br#"{"currency": "EUR", "stripe": {"retries": 3}}"#),
                ("config-from.json", br#"[{"path": "/stripe/key", "file": "from/0"}]"#),
                ("from/0", b"sk_live_1"),
            ],
        );
        let config: Payments = load(&folder.0, None).unwrap();
        let stripe = Stripe { key: "sk_live_1".to_owned(), retries: Some(3) };
        assert_eq!(config, Payments { currency: "EUR".to_owned(), stripe: Some(stripe) });
    }

    #[test]
    fn errors_tell_the_place_and_never_a_value() {
        let index: &[u8] = br#"[{"path": "/stripe/retries", "file": "from/0"}]"#;
        let folder = Folder::with(
            "errors",
            &[("config.json", b"{}"), ("config-from.json", index), ("from/0", b"hunter2")],
        );
        let error = load::<Payments>(&folder.0, None).unwrap_err().to_string();
        assert_eq!(error, "/stripe/key is missing; /stripe/retries: expected u8, found a string");
    }

    #[test]
    fn the_schema_fills_in_defaults_and_refuses_before_the_type_does() {
        let schema: &[u8] = br#"{"properties": {
            "currency": {"default": "GBP"}, "stripe": {"properties": {"key": {"pattern": "^sk_"}, "retries": {"maximum": 5}}}
        }}"#;
        let index: &[u8] = br#"[{"path": "/stripe/key", "file": "from/0"}]"#;
        let with = |name: &str, config: &[u8], key: &[u8]| {
            let files: &[(&str, &[u8])] = &[
                ("config.json", config),
                ("config-from.json", index),
                ("config-schema.json", schema),
                ("from/0", key),
            ];
            let folder = Folder::with(name, files);
            load::<Payments>(&folder.0, None).map_err(|error| error.to_string())
        };
        let stripe = Stripe { key: "sk_live_1".to_owned(), retries: None };
        let expected = Payments { currency: "GBP".to_owned(), stripe: Some(stripe) };
        assert_eq!(with("schema-fits", b"{}", b"sk_live_1"), Ok(expected));
        assert_eq!(
            with("schema-refuses", br#"{"stripe": {"retries": 9}}"#, b"hunter2"),
            Err("/stripe/key: must match ^sk_; /stripe/retries: must be at most 5, found 9".to_owned())
        );
        let folder = Folder::with("schema-broken", &[("config-schema.json", br#"{"required": true}"#)]);
        assert_eq!(
            load::<Payments>(&folder.0, None).unwrap_err().to_string(),
            "\"config-schema.json\" is no schema: /required: must be a list, found true"
        );
    }

    #[test]
    fn the_plugins_own_schema_is_asked_as_well() {
        let own = |schema: Value| {
            let folder = Folder::with(
                "schema-own",
                &[
                    ("config.json", br#"{"currency": "EURO"}"#),
                    (
                        "config-schema.json",
                        br#"{"required": ["stripe"], "properties": {"currency": {"maxLength": 3}}}"#,
                    ),
                ],
            );
            load::<Payments>(&folder.0, Some(schema)).unwrap_err().to_string()
        };
        assert_eq!(
            own(serde_json::json!({"properties": {"currency": {"maxLength": 3, "pattern": "^[A-Z]{3}$"}}})),
            "/currency: must have at most 3 characters, found \"EURO\"; \
             /currency: must match ^[A-Z]{3}$, found \"EURO\"; /stripe: is required"
        );
        assert!(own(serde_json::json!(1)).starts_with("the plugin's own schema is none: the schema: "));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let index: &[u8] = br#"[{"path": "/stripe/key", "file": "from/0"}]"#;
        let absent = Folder::with("absent", &[("config-from.json", index)]);
        assert_eq!(load::<Payments>(&absent.0, None).unwrap_err().to_string(), r#"read "from/0""#);
        let binary = Folder::with("binary", &[("config-from.json", index), ("from/0", b"\xff")]);
        assert_eq!(
            load::<Payments>(&binary.0, None).unwrap_err().to_string(),
            r#""from/0" for /stripe/key is not UTF-8"#
        );
        let broken = Folder::with("broken", &[("config.json", b"{\n\"pin\": 1234")]);
        assert_eq!(
            load::<Payments>(&broken.0, None).unwrap_err().to_string(),
            r#""config.json" is not what the contract says, at line 2, column 11"#
        );
    }
}
