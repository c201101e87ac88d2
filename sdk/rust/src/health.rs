//! How a plugin fares.

use std::{collections::BTreeMap, fmt};

/// How a plugin fares, in words for people. While a plugin is unhealthy, the gateway answers for it
/// with 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub(crate) healthy: bool,
    pub(crate) message: String,
    pub(crate) details: BTreeMap<String, String>,
}

impl Health {
    /// Able to answer requests.
    pub fn healthy() -> Self {
        Self { healthy: true, message: String::new(), details: BTreeMap::new() }
    }

    /// Not able to answer requests; `message` says why, for example "database unreachable".
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { healthy: false, message: message.into(), details: BTreeMap::new() }
    }

    /// The same with a sentence for people.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// The same with one more fact for people, for example `("queue", 12)`. The gateway keeps 32.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.details.insert(name.into(), value.to_string());
        self
    }
}
