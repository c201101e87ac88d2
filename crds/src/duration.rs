//! Durations as people write them in manifests.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of time above zero, written as in Go: `500ms`, `10s`, `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A whole number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// The span as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// The span in whole seconds, rounded up: what the kubelet's probes can be told.
    pub fn whole_seconds(self) -> i32 {
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        i32::try_from(seconds).unwrap_or(i32::MAX)
    }
}

/// Why a text is not a [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDurationError(String);

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration above zero such as 500ms, 10s or 1m30s", self.0)
    }
}

impl std::error::Error for ParseDurationError {}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDurationError(text.to_owned());
        let mut millis = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let count: u64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let scale = match &rest[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(error()),
            };
            rest = &rest[unit..];
            millis = count.checked_mul(scale).and_then(|part| millis.checked_add(part)).ok_or_else(error)?;
        }
        if millis == 0 { Err(error()) } else { Ok(Self(std::time::Duration::from_millis(millis))) }
    }
}

impl TryFrom<String> for Duration {
    type Error = ParseDurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        for (unit, scale) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = millis / scale;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                millis %= scale;
            }
        }
        Ok(())
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) > duration('0s')",
                "message": "must be a duration above zero such as 500ms, 10s or 1m30s",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_same_text() {
        for text in ["1ms", "500ms", "10s", "1m30s", "2h"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn rejects_what_is_not_a_duration_above_zero() {
        for text in
            ["", "0s", "10", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn rounds_up_to_whole_seconds() {
        assert_eq!("500ms".parse::<Duration>().unwrap().whole_seconds(), 1);
        assert_eq!("10s".parse::<Duration>().unwrap().whole_seconds(), 10);
    }
}
