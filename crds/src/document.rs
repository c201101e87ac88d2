//! JSON objects that are the plugin's own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A JSON object of which nothing is known, as text: as a tree it takes ten times the memory, and few look
/// into it.
#[derive(Clone, PartialEq, Eq)]
pub struct Document(Box<str>);

impl Document {
    /// The object.
    pub fn read(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).expect("it was written from an object")
    }
}

impl From<Map<String, Value>> for Document {
    fn from(object: Map<String, Value>) -> Self {
        Self(Value::Object(object).to_string().into())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.read().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::<String, Value>::deserialize(deserializer).map(Self::from)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let number = any::<f64>().prop_filter("JSON has no other", |number| number.is_finite());
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            number.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                prop::collection::btree_map(any::<String>(), inner.clone(), 0..3)
                    .prop_map(|fields| json!(fields)),
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_taken_in(fields in prop::collection::btree_map(any::<String>(), value(), 0..4)) {
            let object = json!(fields).as_object().cloned().unwrap_or_default();
            let document = Document::from(object.clone());
            prop_assert_eq!(&document.read(), &object);
            let text = serde_json::to_string(&document).expect("it is JSON");
            prop_assert_eq!(&text, &Value::Object(object).to_string());
            prop_assert_eq!(serde_json::from_str::<Document>(&text).expect("it is an object"), document);
        }
    }

    #[test]
    fn is_an_object() {
        assert!(serde_json::from_str::<Document>("[]").is_err());
    }
}
