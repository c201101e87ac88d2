//! Events, and the fields that questions name.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// Something that happened. Invariant: it went through [`crate::intake`], which bounds it and writes
/// every number in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    pub timestamp: Timestamp,
}

/// A field of events that can be filtered by, grouped by and calculated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Type,
    User,
    Session,
    /// The property of this name: one at the top of `properties`, never one inside another.
    Property(String),
}

impl Field {
    /// Reads the spelling of requests: `type`, `user_id`, `session_id` or `properties.NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "type" => Some(Self::Type),
            "user_id" => Some(Self::User),
            "session_id" => Some(Self::Session),
            _ => match text.strip_prefix("properties.") {
                Some(name) if !name.is_empty() && !name.contains('\0') => {
                    Some(Self::Property(name.to_owned()))
                }
                _ => None,
            },
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str("type"),
            Self::User => f.write_str("user_id"),
            Self::Session => f.write_str("session_id"),
            Self::Property(name) => write!(f, "properties.{name}"),
        }
    }
}

impl Event {
    /// The text of a field that holds a string, a number or a boolean.
    pub fn text(&self, field: &Field) -> Option<String> {
        match field {
            Field::Type => Some(self.kind.clone()),
            Field::User => self.user_id.clone(),
            Field::Session => self.session_id.clone(),
            Field::Property(name) => self.properties.get(name).and_then(text),
        }
    }

    /// The number that a property is.
    pub fn number(&self, field: &Field) -> Option<f64> {
        match field {
            Field::Property(name) => self.properties.get(name).and_then(Value::as_f64),
            Field::Type | Field::User | Field::Session => None,
        }
    }

    /// Whether a field is this value. `null` stands for one that is not there.
    pub fn is(&self, field: &Field, value: &Value) -> bool {
        let same = |text: Option<&str>| text == value.as_str() && (value.is_string() || value.is_null());
        match field {
            Field::Type => same(Some(&self.kind)),
            Field::User => same(self.user_id.as_deref()),
            Field::Session => same(self.session_id.as_deref()),
            Field::Property(name) => self.properties.get(name).unwrap_or(&Value::Null) == value,
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        // Never with an exponent: the form that PostgreSQL gives its numbers.
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The one way in which a number is written: `100` for `100.0`, `1e2` and `100`; `0` for `-0.0`.
pub fn plain(number: &Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() => plain_float(float).unwrap_or_else(|| number.clone()),
        _ => number.clone(),
    }
}

/// The same for a result; `None` for what JSON has no number for.
pub fn plain_float(float: f64) -> Option<Number> {
    let is_whole = float.fract() == 0.0;
    if is_whole && (-(2f64.powi(63))..2f64.powi(63)).contains(&float) {
        return Some((float as i64).into());
    }
    if is_whole && (0.0..2f64.powi(64)).contains(&float) {
        return Some((float as u64).into());
    }
    Number::from_f64(float)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(text: &str) -> String {
        let number = serde_json::from_str::<Number>(text).unwrap();
        plain(&number).to_string()
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        for (written, plain) in [
            ("100", "100"),
            ("100.0", "100"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("0.10", "0.1"),
            ("1e19", "10000000000000000000"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(number(written), plain, "{written}");
        }
    }

    #[test]
    fn texts_have_no_exponents() {
        assert_eq!(text(&json!(1e21)), Some("1".to_owned() + &"0".repeat(21)));
        assert_eq!(text(&json!(1e-7)), Some("0.0000001".to_owned()));
        assert_eq!(text(&json!([1])), None);
    }

    #[test]
    fn fields_are_read_as_they_are_written() {
        for text in ["type", "user_id", "session_id", "properties.a", "properties.a.b"] {
            assert_eq!(Field::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "properties.", "property", "id"] {
            assert_eq!(Field::parse(text), None, "{text}");
        }
    }

    #[test]
    fn null_is_what_is_not_there() {
        let event: Event = serde_json::from_value(json!({
            "type": "a", "properties": {"n": 1, "null": null}, "timestamp": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        let property = |name: &str| Field::Property(name.to_owned());
        assert!(event.is(&Field::User, &Value::Null) && event.is(&property("null"), &Value::Null));
        assert!(event.is(&property("n"), &json!(1)) && !event.is(&property("n"), &json!("1")));
        assert!(event.is(&Field::Type, &json!("a")) && !event.is(&Field::Type, &Value::Null));
        assert!(!event.is(&Field::User, &json!(5)), "a number is not a missing text");
    }
}
