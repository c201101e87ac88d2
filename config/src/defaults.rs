//! Defaults of a schema, put into a configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::walk::{fields, identity, referred};

/// How deep defaults are filled in: an object that is its own default would have no end.
const DEPTH: usize = 32;

/// Puts the defaults of a schema into a configuration.
///
/// A field that is absent from an object gets the `default` of its schema under `properties`; the
/// default is then treated like what was there from the beginning. What is there is left alone,
/// `null` too, and an absent object without a default is not made, even if there are defaults
/// for its fields. Followed are `properties`, `additionalProperties` (for fields that `properties`
/// does not name, in a schema without `patternProperties`), `items`, `allOf`, and `$ref` within
/// the document. Not followed is what holds in some cases only: `anyOf`, `oneOf`, `if`,
/// `dependentSchemas`, `patternProperties`. Where two schemas have a default for one field, the
/// first counts, a schema's own before that of its `allOf` and its `$ref`.
///
/// Doing it again changes nothing. A document that is no schema has no defaults.
pub fn fill_defaults(schema: &Value, config: &mut Value) {
    Filler { root: schema }.fill(schema, config, 0, &mut BTreeSet::new());
}

struct Filler<'s> {
    root: &'s Value,
}

impl Filler<'_> {
    /// `around` holds the schemas that are being followed for the same value.
    fn fill(&self, schema: &Value, value: &mut Value, depth: usize, around: &mut BTreeSet<usize>) {
        if depth > DEPTH || !around.insert(identity(schema)) {
            return;
        }
        self.fill_fields(schema, value, depth);
        if let (Some(items), Some(elements)) = (schema.get("items"), value.as_array_mut()) {
            let prefix = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
            for element in elements.iter_mut().skip(prefix) {
                self.fill(items, element, depth + 1, &mut BTreeSet::new());
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.fill(part, value, depth, around);
        }
        if let Some(target) = referred(self.root, schema) {
            self.fill(target, value, depth, around);
        }
    }

    fn fill_fields(&self, schema: &Value, value: &mut Value, depth: usize) {
        let Some(object) = value.as_object_mut() else { return };
        let properties = fields(schema, "properties");
        for (name, property) in properties.into_iter().flatten() {
            if let (false, Some(default)) = (object.contains_key(name), self.default(property)) {
                object.insert(name.clone(), default.clone());
            }
            if let Some(field) = object.get_mut(name) {
                self.fill(property, field, depth + 1, &mut BTreeSet::new());
            }
        }
        let Some(others) =
            schema.get("additionalProperties").filter(|_| schema.get("patternProperties").is_none())
        else {
            return;
        };
        for (name, field) in object.iter_mut() {
            if !properties.is_some_and(|properties| properties.contains_key(name)) {
                self.fill(others, field, depth + 1, &mut BTreeSet::new());
            }
        }
    }

    /// The default of a property: its own, or that of what it refers to.
    fn default<'a>(&'a self, property: &'a Value) -> Option<&'a Value> {
        let mut seen = BTreeSet::new();
        let mut schema = property;
        while seen.insert(identity(schema)) {
            match schema.get("default") {
                Some(default) => return Some(default),
                None => schema = referred(self.root, schema)?,
            }
        }
        None
    }
}
