//! Puts one text into a configuration, as the contract has it for `configFrom`.

use serde_json::{Map, Value};

use crate::{pointer::Pointer, value::kind};

/// A place that cannot be reached.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Something on the way is neither an object nor a list.
    #[error("{pointer}: {}", self.why())]
    NotAnObject {
        /// Where the text belongs.
        pointer: Pointer,
        /// What is in the way.
        at: Pointer,
        /// Its kind.
        found: &'static str,
    },
    /// A list on the way has no such element.
    #[error("{pointer}: {}", self.why())]
    NoElement {
        /// Where the text belongs.
        pointer: Pointer,
        /// The list.
        at: Pointer,
        /// The element.
        segment: String,
    },
}

impl PlaceError {
    /// What is in the way, without the place that cannot be reached.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::NotAnObject { at, found, .. } => format!("{at} is {found}, not an object"),
            Self::NoElement { at, segment, .. } => format!("the list {at} has no element \"{segment}\""),
        }
    }
}

/// Puts `text` at `pointer`. Objects on the way are made, elements of lists are not.
pub fn place(config: &mut Value, pointer: &Pointer, text: String) -> Result<(), PlaceError> {
    let mut at = Pointer::new(Vec::new());
    let mut spot = config;
    for segment in pointer.segments() {
        if spot.is_null() {
            *spot = Value::Object(Map::new());
        }
        spot = match spot {
            Value::Object(fields) => fields.entry(segment.as_str()).or_insert(Value::Null),
            Value::Array(elements) => {
                segment.parse::<usize>().ok().and_then(|index| elements.get_mut(index)).ok_or_else(|| {
                    PlaceError::NoElement {
                        pointer: pointer.clone(),
                        at: at.clone(),
                        segment: segment.clone(),
                    }
                })?
            }
            scalar => {
                let found = kind(scalar);
                return Err(PlaceError::NotAnObject { pointer: pointer.clone(), at, found });
            }
        };
        at = at.child(segment);
    }
    *spot = Value::String(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed(mut config: Value, pointer: &str) -> Result<Value, String> {
        let pointer = Pointer::try_from(pointer.to_owned()).unwrap();
        place(&mut config, &pointer, "x".to_owned()).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn makes_objects_on_the_way() {
        assert_eq!(placed(json!({"a": 1}), "/b/c"), Ok(json!({"a": 1, "b": {"c": "x"}})));
        assert_eq!(placed(json!({"b": null}), "/b/c"), Ok(json!({"b": {"c": "x"}})));
    }

    #[test]
    fn replaces_what_stands_there() {
        assert_eq!(placed(json!({"a": {"b": 1, "c": 2}}), "/a/b"), Ok(json!({"a": {"b": "x", "c": 2}})));
        assert_eq!(placed(json!({"a": [1, 2]}), "/a/1"), Ok(json!({"a": [1, "x"]})));
    }

    #[test]
    fn says_what_is_in_the_way() {
        assert_eq!(placed(json!({"a": 1}), "/a/b"), Err("/a/b: /a is a number, not an object".to_owned()));
        assert_eq!(
            placed(json!({"a": []}), "/a/0/b"),
            Err("/a/0/b: the list /a has no element \"0\"".to_owned())
        );
    }
}
