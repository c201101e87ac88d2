//! How the plugin is to behave.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where its endpoints are; `/testbed/NAME` if absent.
    pub prefix: Option<String>,
    #[serde(deserialize_with = "duration")]
    pub initialize_delay: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub start_delay: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub stop_delay: Option<Duration>,
    /// Fails with this message.
    pub fail_initialize: Option<String>,
    /// The hook of the SDK that fails, for example `before_start`.
    pub fail_hook: Option<String>,
    /// Fails with this message.
    pub fail_start: Option<String>,
    /// Does not take a configuration with this in it while it runs, with this message.
    pub fail_reload: Option<String>,
    /// Panics with this message while it initializes.
    pub panic: Option<String>,
    /// Panics with this message when it is asked for its routes.
    pub panic_in_routes: Option<String>,
    /// Initializes by blocking its thread for good.
    pub block: bool,
    /// Never finishes its start.
    pub never_ready: bool,
    /// Exits this long after its start, with `exitCode`.
    #[serde(deserialize_with = "duration")]
    pub crash_after: Option<Duration>,
    pub exit_code: ExitCode,
    /// Takes this much memory when it starts and keeps it.
    pub allocate: Option<Bytes>,
    /// Reports itself unhealthy with this message.
    pub unhealthy: Option<String>,
    /// Provides the middleware `mark` for these requests.
    pub middleware: Option<Scope>,
    /// Provides the middleware `sessions` for its own requests.
    pub sessions: bool,
    /// Shown as it is by the endpoint that describes the plugin, to tell one configuration from another.
    pub note: Option<String>,
}

/// Whose requests a middleware is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Scope {
    Own,
    All,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ExitCode(pub i32);

/// An amount of memory: `64Mi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl Default for ExitCode {
    fn default() -> Self {
        Self(1)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    forward_sdk::duration::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let amount = [("Ki", 10), ("Mi", 20), ("Gi", 30)].into_iter().find_map(|(unit, bits)| {
            let count: usize = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(1 << bits)
        });
        amount.map(Self).ok_or_else(|| D::Error::custom("expected an amount of memory such as 64Mi"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_setting() {
        let config: Config = serde_json::from_str(
            r#"{"prefix": "/t", "initializeDelay": "500ms", "crashAfter": "1s", "exitCode": 3,
                "allocate": "64Mi", "neverReady": true, "unhealthy": "no database", "middleware": "All"}"#,
        )
        .unwrap();
        assert_eq!(config.initialize_delay, Some(Duration::from_millis(500)));
        assert_eq!(config.allocate, Some(Bytes(64 << 20)));
        assert_eq!((config.exit_code.0, config.middleware), (3, Some(Scope::All)));
    }
}
