//! Durations as manifests write them: `500ms`, `10s`, `1m30s`. For fields of a configuration:
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     #[serde(deserialize_with = "forward_sdk::duration::deserialize")]
//!     patience: std::time::Duration,
//! }
//! ```

use std::{fmt, time::Duration};

use serde::{
    Deserializer,
    de::{Unexpected, Visitor},
};

/// The units, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 500ms, 10s or 1m30s")]
pub struct ParseDurationError;

/// Reads a duration: whole numbers, each with its unit (`h`, `m`, `s`, `ms`).
///
/// # Errors
/// When the text is anything else.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let mut millis = 0_u64;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or(ParseDurationError)?;
        let (count, tail) = rest.split_at(unit_at);
        let next = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseDurationError)?;
        let count: u64 = count.parse().map_err(|_| ParseDurationError)?;
        let part = count.checked_mul(*scale).ok_or(ParseDurationError)?;
        millis = millis.checked_add(part).ok_or(ParseDurationError)?;
        rest = tail;
    }
    Ok(Duration::from_millis(millis))
}

/// For `#[serde(deserialize_with = "forward_sdk::duration::deserialize")]`.
///
/// # Errors
/// When the value is not a text that [`parse`] reads.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text)
}

/// Writes a duration the way that [`parse`] reads it; parts below a millisecond are left out.
pub(crate) fn display(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in UNITS {
        if millis >= scale {
            text += &format!("{}{unit}", millis / scale);
            millis %= scale;
        }
    }
    text
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 500ms, 10s or 1m30s")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|ParseDurationError| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["0s", "1ms", "500ms", "10s", "1m30s", "2h"] {
            assert_eq!(display(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn rejects_what_is_not_a_duration() {
        for text in ["", "10", "s", "1d", "-1s", "1.5s", "1s2", "99999999999999999999s", "é1s"] {
            assert_eq!(parse(text), Err(ParseDurationError), "{text:?}");
        }
    }
}
