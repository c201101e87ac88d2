//! The configuration, and what it means.

use std::time::Duration;

use forward_sdk::schemars::JsonSchema;
use serde::Deserialize;

use crate::money::Currency;

const SANDBOX_KEY: &str = "sk_test_";
const PRODUCTION_KEY: &str = "sk_live_";

/// What the manifest says. It is not shown, as half of it is secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "forward_sdk::schemars")]
pub struct Config {
    /// The key to the processor.
    api_key: String,
    environment: Environment,
    /// The only currency that payments are taken in.
    #[serde(default = "Currency::usd")]
    #[schemars(with = "String", pattern("^[A-Z]{3}$"), extend("default" = "USD"))]
    currency: Currency,
    /// The largest payment, in the currency's minor unit.
    #[serde(default = "max_amount")]
    #[schemars(range(min = 1))]
    max_amount: i64,
    #[serde(default = "enable_refunds")]
    enable_refunds: bool,
    /// The secret that the processor signs its events with.
    webhook_secret: String,
    /// How far the time in a signature may be from ours.
    #[serde(default = "webhook_tolerance", deserialize_with = "forward_sdk::duration::deserialize")]
    #[schemars(with = "String", extend("default" = "5m"))]
    webhook_tolerance: Duration,
    /// The URL of the PostgreSQL database.
    database_url: String,
}

/// Where the money is: nowhere, or with Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "forward_sdk::schemars")]
pub enum Environment {
    Sandbox,
    Production,
}

/// The configuration once it is known to make sense.
pub struct Settings {
    pub environment: Environment,
    pub api_key: String,
    pub database_url: String,
    pub terms: Terms,
    pub webhook: Webhook,
}

/// On which terms payments are taken and given back.
#[derive(Clone, Debug)]
pub struct Terms {
    pub currency: Currency,
    pub max_amount: i64,
    pub enable_refunds: bool,
}

/// How events are known to be the processor's.
pub struct Webhook {
    pub secret: String,
    pub tolerance: Duration,
}

/// Why a configuration makes no sense. The messages become public, so no value is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("/api_key: in the sandbox, a key that begins with \"sk_test_\" is needed")]
    KeyNotForSandbox,
    #[error("/api_key: in production, a key that begins with \"sk_live_\" is needed")]
    KeyNotForProduction,
    #[error("/api_key: expected visible ASCII characters")]
    KeyNotPrintable,
    #[error("/webhook_secret: it is empty, so that anybody could sign")]
    NoWebhookSecret,
    #[error("/webhook_tolerance: it is zero, so that no event could ever arrive")]
    NoTolerance,
    #[error("/max_amount: it must be above 0")]
    NoAmount,
}

impl Config {
    /// What the configuration means.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let Self { environment, currency, max_amount, enable_refunds, database_url, .. } = self;
        // Secrets that were made with `echo` have a newline at their ends.
        let api_key = self.api_key.trim_end().to_owned();
        let secret = self.webhook_secret.trim_end().to_owned();
        match environment {
            Environment::Sandbox if !api_key.starts_with(SANDBOX_KEY) => {
                return Err(ConfigError::KeyNotForSandbox);
            }
            Environment::Production if !api_key.starts_with(PRODUCTION_KEY) => {
                return Err(ConfigError::KeyNotForProduction);
            }
            _ if !api_key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(ConfigError::KeyNotPrintable);
            }
            _ if secret.is_empty() => return Err(ConfigError::NoWebhookSecret),
            _ if self.webhook_tolerance.is_zero() => return Err(ConfigError::NoTolerance),
            _ if max_amount <= 0 => return Err(ConfigError::NoAmount),
            _ => {}
        }
        Ok(Settings {
            environment,
            api_key,
            database_url: database_url.trim_end().to_owned(),
            terms: Terms { currency, max_amount, enable_refunds },
            webhook: Webhook { secret, tolerance: self.webhook_tolerance },
        })
    }
}

fn max_amount() -> i64 {
    1_000_000
}

fn enable_refunds() -> bool {
    true
}

fn webhook_tolerance() -> Duration {
    Duration::from_secs(5 * 60)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resolve(change: &Value) -> Result<Settings, ConfigError> {
        let mut config = json!({
            "api_key": "sk_test_1", "environment": "sandbox", "webhook_secret": "whsec_1", "database_url": "postgres://",
        });
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value::<Config>(config).unwrap().resolve()
    }

    #[test]
    fn its_schema_says_what_the_type_does() {
        let schema = forward_sdk::schema_of::<Config>();
        assert_eq!(schema["required"], json!(["api_key", "environment", "webhook_secret", "database_url"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["max_amount"]["minimum"], 1);
        let defaults = |field: &str| schema["properties"][field]["default"].clone();
        assert_eq!([defaults("currency"), defaults("webhook_tolerance")], [json!("USD"), json!("5m")]);
    }

    #[test]
    fn has_defaults_for_what_is_not_secret() {
        let settings = resolve(&json!({"api_key": "sk_test_1\n"})).ok().unwrap();
        assert_eq!(settings.api_key, "sk_test_1");
        assert_eq!(settings.webhook.tolerance, Duration::from_secs(300));
        let Terms { currency, max_amount, enable_refunds } = settings.terms;
        assert_eq!((currency.code(), max_amount, enable_refunds), ("USD", 1_000_000, true));
    }

    #[test]
    fn refuses_a_key_of_the_other_environment() {
        let error = |change| resolve(&change).err();
        assert_eq!(error(json!({"api_key": "sk_live_1"})), Some(ConfigError::KeyNotForSandbox));
        assert_eq!(error(json!({"environment": "production"})), Some(ConfigError::KeyNotForProduction));
        assert_eq!(error(json!({"environment": "production", "api_key": "sk_live_1"})), None);
    }

    #[test]
    fn refuses_what_can_never_work() {
        let error = |change| resolve(&change).err();
        assert_eq!(error(json!({"api_key": "sk_test_1\r\nx"})), Some(ConfigError::KeyNotPrintable));
        assert_eq!(error(json!({"webhook_secret": "\n"})), Some(ConfigError::NoWebhookSecret));
        assert_eq!(error(json!({"webhook_tolerance": "0s"})), Some(ConfigError::NoTolerance));
        assert_eq!(error(json!({"max_amount": 0})), Some(ConfigError::NoAmount));
    }
}
