//! Values in words: their kind, and themselves where they are short.

use serde_json::Value;

/// The most characters of a value, or of a rule's own value, that a message quotes: enough for a
/// URL or a list of choices.
const QUOTED: usize = 96;

/// What a value is, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as JSON, cut where it is long.
pub(crate) fn quoted(value: &Value) -> String {
    shortened(&value.to_string())
}

/// A text, cut where it is long.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(quoted(&json!({"a": [1, "b"]})), r#"{"a":[1,"b"]}"#);
        let long = quoted(&json!("ä".repeat(200)));
        assert!(long.ends_with("ä…") && long.chars().count() == QUOTED + 1, "{long}");
    }
}
