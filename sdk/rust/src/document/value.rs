//! Reads any serde type from a JSON value, with errors that know what went wrong but hold none of
//! the value's content. (`serde_json`'s own errors quote it.)

use std::fmt;

use forward_config::kind;
use serde::{
    Deserializer,
    de::{
        self, Expected, IntoDeserializer, Unexpected, Visitor,
        value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

/// A value that is about to be read.
#[derive(Clone, Copy)]
pub struct Source<'de>(pub &'de Value);

/// What is wrong, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The value is of another kind than expected.
    Kind {
        found: &'static str,
        expected: String,
    },
    /// The kind is right, the value is not.
    Content {
        found: &'static str,
        expected: String,
    },
    /// A choice that does not exist.
    Choice {
        expected: &'static [&'static str],
    },
    /// A field that does not exist.
    UnknownField {
        field: String,
        expected: &'static [&'static str],
    },
    MissingField(&'static str),
    /// What the type's own check says; only this may quote the value.
    Other(String),
}

impl de::Error for Complaint {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Kind { found: kind_met(&found), expected: expected.to_string() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Content { found: kind_met(&found), expected: expected.to_string() }
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::Other(format!("expected {expected}, found {length} elements"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Choice { expected }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownField { field: field.to_owned(), expected }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::MissingField(field)
    }
}

impl std::error::Error for Complaint {}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { found, expected } => write!(f, "expected {expected}, found {found}"),
            Self::Content { found, expected } => {
                let found = found.trim_start_matches("a ").trim_start_matches("an ");
                write!(f, "expected {expected}, found another {found}")
            }
            Self::Choice { expected } => write!(f, "expected one of {}", expected.join(", ")),
            Self::UnknownField { expected: [], .. } => f.write_str("is not a field; there are none"),
            Self::UnknownField { expected, .. } => {
                write!(f, "is not a field; the fields are {}", expected.join(", "))
            }
            Self::MissingField(_) => f.write_str("is missing"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

/// What serde met, in the words of JSON.
fn kind_met(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "a list",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

impl<'de> IntoDeserializer<'de, Complaint> for Source<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = Complaint;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => {
                if let Some(value) = number.as_u64() {
                    visitor.visit_u64(value)
                } else if let Some(value) = number.as_i64() {
                    visitor.visit_i64(value)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(elements) => {
                let mut elements = SeqDeserializer::new(elements.iter().map(Source));
                let value = visitor.visit_seq(&mut elements)?;
                elements.end()?;
                Ok(value)
            }
            Value::Object(fields) => visitor.visit_map(map(fields)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(variant.as_str().into_deserializer()),
            Value::Object(fields) if fields.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(map(fields)))
            }
            other => Err(Complaint::Kind {
                found: kind(other),
                expected: format!("one of {}", variants.join(", ")),
            }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The name of a field, which may stand for a number as it does in JSON.
struct Key<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Complaint> for Key<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! numeric_keys {
    ($($deserialize:ident => $visit:ident),*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Complaint;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    numeric_keys! {
        deserialize_bool => visit_bool, deserialize_i8 => visit_i8, deserialize_i16 => visit_i16,
        deserialize_i32 => visit_i32, deserialize_i64 => visit_i64, deserialize_i128 => visit_i128,
        deserialize_u8 => visit_u8, deserialize_u16 => visit_u16, deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64, deserialize_u128 => visit_u128
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

type Fields<'de> = MapDeserializer<'de, FieldSources<'de>, Complaint>;
type FieldSources<'de> =
    std::iter::Map<serde_json::map::Iter<'de>, fn((&'de String, &'de Value)) -> (Key<'de>, Source<'de>)>;

fn map<'de>(fields: &'de serde_json::Map<String, Value>) -> Fields<'de> {
    MapDeserializer::new(fields.iter().map(|(name, value)| (Key(name), Source(value))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, de::DeserializeOwned};
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Off,
        At(u8),
        Range { from: u8, to: u8 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Name(String);

    fn agrees_with_serde_json<T: DeserializeOwned + PartialEq + fmt::Debug>(value: Value) {
        let ours = T::deserialize(Source(&value)).unwrap();
        assert_eq!(ours, serde_json::from_value::<T>(value).unwrap());
    }

    #[test]
    fn reads_the_same_as_serde_json() {
        agrees_with_serde_json::<(Option<bool>, Option<u8>, i64, f32)>(json!([true, null, -1, 2]));
        agrees_with_serde_json::<Vec<Level>>(json!(["off", {"at": 3}, {"range": {"from": 1, "to": 2}}]));
        agrees_with_serde_json::<BTreeMap<String, Vec<Name>>>(json!({"a": ["b", "c"], "d": []}));
        agrees_with_serde_json::<Value>(json!({"a": [1, -1, 1.5, "b", null, {"c": false}]}));
        agrees_with_serde_json::<BTreeMap<u8, char>>(json!({"1": "x"}));
    }

    #[test]
    fn complaints_never_quote_the_value() {
        let complaint = |value: Value| Level::deserialize(Source(&value)).unwrap_err().to_string();
        assert_eq!(complaint(json!("hunter2")), "expected one of off, at, range");
        assert_eq!(complaint(json!(42)), "expected one of off, at, range, found a number");
        assert_eq!(complaint(json!({"at": 4242})), "expected u8, found another whole number");
        assert_eq!(complaint(json!({"at": "hunter2"})), "expected u8, found a string");
    }
}
