//! A set of keys as a file has it: hashes of keys, and whose they are.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use forward_plan::{middleware::is_permission, routes::PluginId};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Caller;

/// SHA-256 of a key. Keys are random and long, so that no slower hash is needed: nobody can try them
/// out. That is also why finding one by its hash tells nothing by the time that it takes.
type Hash = [u8; 32];
/// How long a key must be at least for that: 16 random characters cannot be tried out.
const LEAST: usize = 16;

/// The keys of a file.
#[derive(Debug, Default, PartialEq)]
pub struct KeySet {
    plugins: Plugins,
    keys: HashMap<Hash, Key>,
}

#[derive(Debug, PartialEq)]
struct Key {
    caller: Arc<Caller>,
    /// Seconds since 1970.
    expires: Option<i64>,
    /// Where it is for some of the set's plugins only.
    plugins: Option<Plugins>,
}

/// Plugins, as `namespace/name`, with `*` for any.
#[derive(Debug, Default, PartialEq)]
struct Plugins(Vec<(String, String)>);

/// Why a key says nothing of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The whole set is not for the plugin.
    Set,
    /// There is no such key, it is not for the plugin, or it is too short to be random.
    Unknown,
    /// It has ended.
    Expired,
}

/// Why a file is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("read \"keys.yaml\": {0}")]
    Read(String),
    #[error("read \"plugins\": {0:?} is not a plugin such as shop/orders, shop/* or */*")]
    Plugin(String),
    #[error("read \"plugins\": none is named, so that nobody could use the keys")]
    NoPlugins,
    #[error("read key {0}: its hash is not sha256: and 64 hexadecimal digits")]
    Hash(usize),
    #[error("read key {0}: another one has the same hash")]
    Twice(usize),
    #[error("read key {0}: its subject is not 1 to 512 visible ASCII characters")]
    Subject(usize),
    #[error("read key {0}: {1:?} is not the name of a permission")]
    Permission(usize, String),
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    plugins: Vec<String>,
    keys: Vec<WrittenKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    hash: String,
    subject: String,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    plugins: Option<Vec<String>>,
}

impl KeySet {
    /// The keys of a file, in YAML or JSON. One mistake and none of it counts.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let written = serde_saphyr::from_str::<Written>(text);
        let Written { plugins, keys } = written.map_err(|error| DocumentError::Read(first_line(&error)))?;
        let mut set = Self { plugins: Plugins::read(&plugins)?, keys: HashMap::new() };
        for (number, key) in (1..).zip(&keys) {
            let WrittenKey { hash, subject, permissions, expires, plugins } = key;
            let hash = read_hash(hash).ok_or(DocumentError::Hash(number))?;
            if let Some(wrong) = permissions.iter().find(|name| !is_permission(name)) {
                return Err(DocumentError::Permission(number, wrong.clone()));
            }
            let permissions = permissions.iter().cloned().collect::<BTreeSet<_>>();
            let caller = Caller::new(subject, permissions).ok_or(DocumentError::Subject(number))?;
            let plugins = plugins.as_deref().map(Plugins::read).transpose()?;
            let key = Key { caller: Arc::new(caller), expires: expires.map(Timestamp::as_second), plugins };
            if set.keys.insert(hash, key).is_some() {
                return Err(DocumentError::Twice(number));
            }
        }
        Ok(set)
    }

    /// Whose a key is, for a plugin, at a time in seconds since 1970.
    pub fn find(&self, key: &str, plugin: &PluginId, now: i64) -> Result<&Arc<Caller>, KeyError> {
        if !self.plugins.has(plugin) {
            return Err(KeyError::Set);
        }
        if key.len() < LEAST {
            return Err(KeyError::Unknown);
        }
        let hash: Hash = Sha256::digest(key).into();
        let Key { caller, expires, plugins } = self.keys.get(&hash).ok_or(KeyError::Unknown)?;
        if plugins.as_ref().is_some_and(|plugins| !plugins.has(plugin)) {
            Err(KeyError::Unknown)
        } else if expires.is_some_and(|expires| expires <= now) {
            Err(KeyError::Expired)
        } else {
            Ok(caller)
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Plugins {
    fn read(list: &[String]) -> Result<Self, DocumentError> {
        let part = |text: &str| {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            text == "*" || (!text.is_empty() && text.bytes().all(is_name))
        };
        let read = |text: &String| {
            let (namespace, name) = text.split_once('/').filter(|(one, other)| part(one) && part(other))?;
            Some((namespace.to_owned(), name.to_owned()))
        };
        if list.is_empty() {
            return Err(DocumentError::NoPlugins);
        }
        let plugins = list.iter().map(|text| read(text).ok_or_else(|| DocumentError::Plugin(text.clone())));
        Ok(Self(plugins.collect::<Result<_, _>>()?))
    }

    fn has(&self, plugin: &PluginId) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.0.iter().any(|(namespace, name)| is(namespace, &plugin.namespace) && is(name, &plugin.name))
    }
}

/// Of an error its first line: those that follow show the file, and what it has of keys must not get
/// into a log.
fn first_line(error: &impl fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn read_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    let mut hash = Hash::default();
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of [`KEY`].
    const HASH: &str = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
    const KEY: &str = "0123456789abcdef";

    fn set(rest: &str) -> Result<KeySet, String> {
        let text =
            format!("plugins: [shop/orders, 'billing/*']\nkeys:\n- hash: {HASH}\n  subject: acme\n{rest}");
        KeySet::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn finds_a_key_for_the_plugins_that_it_is_for_until_it_ends() {
        let set =
            set("  permissions: [b, a]\n  expires: 1970-01-01T00:01:40Z\n  plugins: ['shop/*']\n").unwrap();
        let find = |key: &str, plugin: (&str, &str), now: i64| {
            let found = set.find(key, &PluginId::new(plugin.0, plugin.1), now);
            found.map(|caller| caller.permitted.to_str().unwrap().to_owned())
        };
        assert_eq!(find(KEY, ("shop", "orders"), 99), Ok("a b".to_owned()));
        assert_eq!(find(KEY, ("shop", "orders"), 100), Err(KeyError::Expired));
        assert_eq!(find("0123456789ABCDEF", ("shop", "orders"), 0), Err(KeyError::Unknown));
        assert_eq!(find(&KEY[1..], ("shop", "orders"), 0), Err(KeyError::Unknown));
        assert_eq!(find("", ("shop", "orders"), 0), Err(KeyError::Unknown));
        assert_eq!(find(KEY, ("billing", "orders"), 0), Err(KeyError::Unknown), "the set is, the key is not");
        assert_eq!(find(KEY, ("shop", "other"), 0), Err(KeyError::Set));
        assert_eq!(find(KEY, ("other", "orders"), 0), Err(KeyError::Set));
    }

    #[test]
    fn refuses_a_file_with_any_mistake_and_shows_nothing_of_it() {
        assert!(set("").is_ok() && set("  expires: null\n").is_ok());
        for (rest, expected) in [
            ("  expired: 2026-01-01T00:00:00Z\n", "keys.yaml"),
            ("  expires: soon\n", "keys.yaml"),
            ("  plugins: [orders]\n", "\"orders\" is not a plugin"),
            ("  plugins: []\n", "none is named"),
            ("  permissions: [a b]\n", "key 1: \"a b\""),
            ("- hash: sha256:00\n  subject: b\n", "key 2: its hash"),
            (&format!("- hash: {}\n  subject: b\n", "sha256:é".repeat(9)), "key 2: its hash"),
            (&format!("- hash: {HASH}\n  subject: b\n"), "key 2: another one"),
            (&format!("- hash: {}\n  subject: 'b '\n", HASH.replace("9f", "00")), "key 2: its subject"),
        ] {
            let error = set(rest).unwrap_err();
            assert!(error.contains(expected), "{rest}: {error}");
            assert!(!error.contains("9f9f51") && !error.contains('\n'), "{error}");
        }
        for text in ["", "keys: []", "plugins: ['*/*']", "[]", "plugins: ['*/*']\nkeys: [5]"] {
            assert!(KeySet::parse(text).is_err(), "{text:?}");
        }
        assert!(KeySet::parse(r#"{"plugins": ["*/*"], "keys": []}"#).unwrap().is_empty());
    }
}
