//! What can be set.

use std::time::Duration;

use forward_sdk::duration;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database with the journal: a secret.
    pub database_url: String,
    /// How long a request waits for its order to end; then the answer is that it is pending.
    #[serde(default = "request_timeout", deserialize_with = "duration::deserialize")]
    pub request_timeout: Duration,
    /// How long one call to another plugin may take.
    #[serde(default = "call_timeout", deserialize_with = "duration::deserialize")]
    pub call_timeout: Duration,
    /// After how long without a step an order is taken up by another driver.
    #[serde(default = "lease", deserialize_with = "duration::deserialize")]
    pub lease: Duration,
    /// For how long analytics is told of an order that it did not take.
    #[serde(default = "track_for", deserialize_with = "duration::deserialize")]
    pub track_for: Duration,
}

/// A setting that does not go with another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("/call_timeout: must be above 0")]
    NoTime,
    #[error("/lease: must be longer than /call_timeout, or orders are taken from those who drive them")]
    LeaseTooShort,
}

impl Config {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.call_timeout.is_zero() {
            return Err(ConfigError::NoTime);
        }
        if self.lease <= self.call_timeout {
            return Err(ConfigError::LeaseTooShort);
        }
        Ok(())
    }
}

fn request_timeout() -> Duration {
    Duration::from_secs(8)
}

fn call_timeout() -> Duration {
    Duration::from_secs(3)
}

fn lease() -> Duration {
    Duration::from_secs(15)
}

fn track_for() -> Duration {
    Duration::from_hours(7 * 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        serde_json::from_str(&format!(r#"{{"database_url": "postgres://localhost"{more}}}"#)).unwrap()
    }

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(config("").check(), Ok(()));
    }

    #[test]
    fn a_lease_outlives_a_call() {
        assert_eq!(config(r#", "lease": "3s""#).check(), Err(ConfigError::LeaseTooShort));
        assert_eq!(config(r#", "call_timeout": "0s""#).check(), Err(ConfigError::NoTime));
    }
}
