//! The configuration, and what it means.

use jiff::SignedDuration;
use serde::Deserialize;

/// The longest that events are kept, in days.
const LONGEST: u32 = 3_650;

/// As the manifest gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether events can be followed live.
    enable_realtime: bool,
    /// How long events are kept.
    retention_days: u32,
    /// The share of users whose events are kept, from 0 to 1.
    sample_rate: f64,
    /// Whether requests for the other plugins of the namespace are events.
    track_requests: bool,
    storage_type: StorageType,
    /// Where PostgreSQL answers; a secret.
    database_url: Option<String>,
    /// Where Redis answers; a secret.
    redis_url: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StorageType {
    Memory,
    Redis,
    Postgres,
}

/// What the configuration means.
#[derive(Clone, Debug)]
pub struct Settings {
    pub realtime: bool,
    pub retention: SignedDuration,
    pub sample_rate: f64,
    pub track_requests: bool,
    pub storage: Location,
}

/// Where events are kept.
#[derive(Clone, Debug)]
pub enum Location {
    Memory,
    Redis { url: String },
    Postgres { url: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("/retention_days: must be from 1 to {LONGEST}")]
    Retention,
    #[error("/sample_rate: must be from 0 to 1")]
    SampleRate,
    #[error("{pointer}: is missing; storage_type \"{storage}\" needs it")]
    MissingUrl { pointer: &'static str, storage: &'static str },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enable_realtime: true,
            retention_days: 30,
            sample_rate: 1.0,
            track_requests: false,
            storage_type: StorageType::Memory,
            database_url: None,
            redis_url: None,
        }
    }
}

impl TryFrom<Config> for Settings {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        let Config {
            enable_realtime,
            retention_days,
            sample_rate,
            track_requests,
            storage_type,
            database_url,
            redis_url,
        } = config;
        if !(1..=LONGEST).contains(&retention_days) {
            return Err(ConfigError::Retention);
        }
        if !(0.0..=1.0).contains(&sample_rate) {
            return Err(ConfigError::SampleRate);
        }
        let missing = |pointer, storage| ConfigError::MissingUrl { pointer, storage };
        let storage = match storage_type {
            StorageType::Memory => Location::Memory,
            StorageType::Redis => Location::Redis { url: redis_url.ok_or(missing("/redis_url", "redis"))? },
            StorageType::Postgres => {
                Location::Postgres { url: database_url.ok_or(missing("/database_url", "postgres"))? }
            }
        };
        let retention = SignedDuration::from_hours(24 * i64::from(retention_days));
        Ok(Self { realtime: enable_realtime, retention, sample_rate, track_requests, storage })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(config: serde_json::Value) -> Result<Settings, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        Settings::try_from(config).map_err(|error| error.to_string())
    }

    #[test]
    fn runs_without_any_configuration() {
        let settings = settings(json!({})).unwrap();
        assert!(settings.realtime && matches!(settings.storage, Location::Memory));
        assert_eq!(settings.retention, SignedDuration::from_hours(30 * 24));
    }

    #[test]
    fn what_is_wrong_names_its_place() {
        let error = |config| settings(config).unwrap_err();
        assert_eq!(error(json!({"sample_rate": 1.5})), "/sample_rate: must be from 0 to 1");
        assert_eq!(error(json!({"retention_days": 0})), "/retention_days: must be from 1 to 3650");
        assert_eq!(
            error(json!({"storage_type": "postgres", "redis_url": "redis://x"})),
            "/database_url: is missing; storage_type \"postgres\" needs it"
        );
        assert!(error(json!({"storage": "redis"})).contains("unknown field"));
    }
}
