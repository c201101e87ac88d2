//! A plugin's configuration: `config.json` with the values of `config-from.json` put into it, read
//! into the plugin's own type.
//!
//! Invariant: no value of the configuration gets into an error, since any of them may be a secret.

mod merge;

use std::{fmt, fs, io, path::Path};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use self::merge::MergeError;
use crate::document::{self, Pointer, Problem};

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
    Merge(#[from] MergeError),
    #[error("{0}")]
    Refused(Problems),
}

/// Everything that is wrong with a configuration, as far as one can know.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Reads the configuration in a folder. No `config.json`, as outside Kubernetes, is the same as an
/// empty one.
pub fn load<C: DeserializeOwned>(folder: &Path) -> Result<C, ConfigError> {
    let mut config = read_json::<Map<String, Value>>(folder, "config.json")?.map(Value::Object);
    let config = config.get_or_insert_with(|| Value::Object(Map::new()));
    let sources: Vec<Source> = read_json(folder, "config-from.json")?.unwrap_or_default();
    let mut secrets = Vec::new();
    for Source { path, file } in sources {
        let text = read_text(folder, &file, &path)?;
        merge::place(config, &path, text)?;
        secrets.push(path);
    }
    document::deserialize(config, &secrets).map_err(|problems| ConfigError::Refused(Problems(problems)))
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
        let config: Payments = load(Path::new("/nowhere")).unwrap();
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
        let config: Payments = load(&folder.0).unwrap();
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
        let error = load::<Payments>(&folder.0).unwrap_err().to_string();
        assert_eq!(error, "/stripe/key is missing; /stripe/retries: expected u8, found a string");
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let index: &[u8] = br#"[{"path": "/stripe/key", "file": "from/0"}]"#;
        let absent = Folder::with("absent", &[("config-from.json", index)]);
        assert_eq!(load::<Payments>(&absent.0).unwrap_err().to_string(), r#"read "from/0""#);
        let binary = Folder::with("binary", &[("config-from.json", index), ("from/0", b"\xff")]);
        assert_eq!(
            load::<Payments>(&binary.0).unwrap_err().to_string(),
            r#""from/0" for /stripe/key is not UTF-8"#
        );
        let broken = Folder::with("broken", &[("config.json", b"{\n\"pin\": 1234")]);
        assert_eq!(
            load::<Payments>(&broken.0).unwrap_err().to_string(),
            r#""config.json" is not what the contract says, at line 2, column 11"#
        );
    }
}
