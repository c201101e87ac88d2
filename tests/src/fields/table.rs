//! What fields can be set to: by their type where that says enough, and by a table where it does not.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Field;

/// A field, values that converge or are explained, and those that the API server refuses.
pub type Entry = (&'static str, Value, Value);

/// Values of fields, by their names.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, Value, Value)>);

impl Table {
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self::default().with("", entries)
    }

    /// The same, and what is known of fields below `prefix`, which ends with a dot.
    pub fn with(mut self, prefix: &str, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries = entries.into_iter();
        self.0.extend(entries.map(|(name, valid, invalid)| (format!("{prefix}{name}"), valid, invalid)));
        self
    }

    /// Whether it has values of a field.
    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(name, _, _)| name == field)
    }

    /// Entries for fields that are not there.
    pub fn unknown(&self, fields: &[Field]) -> Vec<&str> {
        let is_field = |name: &str| fields.iter().any(|field| field.to_string() == name);
        self.0.iter().map(|(name, _, _)| name.as_str()).filter(|name| !is_field(name)).collect()
    }

    /// Values that a field can be set to, other than the one that it has.
    ///
    /// # Errors
    /// A field about which neither its type nor the table says enough.
    pub fn valid(&self, field: &Field, now: Option<&Value>) -> Result<Vec<Value>> {
        let default = field.schema.get("default");
        let mut values = self.valid_by_name(field).or_else(|| valid_by_type(&field.schema)).with_context(|| {
            format!("no value for {field}: add it to its table in tests/src/fields or tests/faults/src/fields.rs")
        })?;
        values.retain(|value| Some(value) != now.or(default));
        Ok(values)
    }

    /// Values that the API server does not take for a field.
    pub fn invalid(&self, field: &Field) -> Vec<Value> {
        let mut values = invalid_by_type(&field.schema);
        if let Some((_, _, invalid)) = self.0.iter().find(|(name, _, _)| *name == field.to_string()) {
            values.extend(invalid.as_array().cloned().unwrap_or_default());
        }
        values
    }

    fn valid_by_name(&self, field: &Field) -> Option<Vec<Value>> {
        let (_, valid, _) = self.0.iter().find(|(name, _, _)| *name == field.to_string())?;
        valid.as_array().cloned()
    }
}

fn valid_by_type(schema: &Value) -> Option<Vec<Value>> {
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.clone());
    }
    match schema["type"].as_str()? {
        "boolean" => Some(vec![json!(true), json!(false)]),
        "integer" => {
            let least = schema["minimum"].as_f64().map_or(1, |least| least as i64);
            let default = schema["default"].as_i64().unwrap_or(least);
            Some(vec![json!(default + 1), json!(least)])
        }
        _ => None,
    }
}

fn invalid_by_type(schema: &Value) -> Vec<Value> {
    let mut values = match schema["type"].as_str() {
        Some("string") => vec![json!(5)],
        Some("boolean" | "integer" | "object") => vec![json!("nonsense")],
        Some("array") => vec![json!("nonsense")],
        _ => vec![json!(true)],
    };
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    values.extend(bound("minimum").map(|least| json!(least - 1)));
    values.extend(bound("maximum").map(|most| json!(most + 1)));
    values.extend(bound("maxLength").map(|most| json!("a".repeat(usize::try_from(most).unwrap_or(0) + 1))));
    values.extend(bound("minLength").filter(|least| *least > 0).map(|_| json!("")));
    if schema["enum"].is_array() {
        values.push(json!("Nonsense"));
    }
    values
}
