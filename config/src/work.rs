//! How much work it is to judge a configuration. The operator judges those of everybody, and
//! schemas can be written that take longer than anybody lives, or more stack than there is.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::walk::{About, Subschema, identity, referred, subschemas};

/// How often a schema may meet a value while one configuration is judged: milliseconds, and many
/// times what schemas of people need.
const MEETINGS: u64 = 200_000;

/// How many such meetings may be under way at once: each takes stack.
const DEPTH: usize = 256;

/// The name of a field, as a value: it has no parts.
static NAME: Value = Value::Null;

/// Whether judging the configuration takes no more than that.
pub(crate) fn is_bounded(root: &Value, config: &Value) -> bool {
    let mut count = Count { root, known: BTreeMap::new() };
    count.of(root, config, 0).is_some_and(|cost| cost.meetings <= MEETINGS)
}

/// Whether judging a value takes no more than that, by what it can hold at most.
pub(crate) fn is_surely_bounded(weight: Option<u64>, values: usize) -> bool {
    most(weight, values).is_some_and(|meetings| meetings <= MEETINGS)
}

/// How often a schema of this weight may meet something in a value that holds so many.
pub(crate) fn most(weight: Option<u64>, values: usize) -> Option<u64> {
    weight.map(|weight| weight.saturating_mul(values as u64))
}

/// How many positions a schema has, with all that each of them refers to: no value is met more often
/// than that. Nothing where it refers to itself.
pub(crate) fn weight(root: &Value) -> Option<u64> {
    fn of(root: &Value, schema: &Value, known: &mut BTreeMap<usize, Option<u64>>) -> Option<u64> {
        if let Some(known) = known.get(&identity(schema)) {
            return *known;
        }
        known.insert(identity(schema), None);
        let mut weight = 1_u64;
        for Subschema { about, schema, .. } in subschemas(schema) {
            if about != About::Nothing {
                weight = weight.saturating_add(of(root, schema, known)?);
            }
        }
        if let Some(target) = referred(root, schema) {
            weight = weight.saturating_add(of(root, target, known)?);
        }
        known.insert(identity(schema), Some(weight));
        Some(weight)
    }
    of(root, root, &mut BTreeMap::new())
}

#[derive(Clone, Copy)]
struct Cost {
    meetings: u64,
    depth: usize,
}

impl Cost {
    fn add(&mut self, part: Self) {
        self.meetings = self.meetings.saturating_add(part.meetings);
        self.depth = self.depth.max(part.depth + 1);
    }
}

struct Count<'s> {
    root: &'s Value,
    /// What a schema and a value cost; absent for a pair that is being counted.
    known: BTreeMap<(usize, usize), Option<Cost>>,
}

impl Count<'_> {
    /// Nothing where it goes too deep or never ends, as with a schema that refers to itself for the
    /// same value.
    fn of(&mut self, schema: &Value, value: &Value, level: usize) -> Option<Cost> {
        let pair = (identity(schema), identity(value));
        if let Some(known) = self.known.get(&pair) {
            return known.filter(|cost| level + cost.depth <= DEPTH);
        }
        if level > DEPTH || self.known.len() as u64 > MEETINGS {
            return None;
        }
        self.known.insert(pair, None);
        let mut cost = Cost { meetings: 1, depth: 0 };
        for Subschema { about, schema, .. } in subschemas(schema) {
            for value in parts(about, value) {
                cost.add(self.of(schema, value, level + 1)?);
            }
        }
        if let Some(target) = referred(self.root, schema) {
            cost.add(self.of(target, value, level + 1)?);
        }
        self.known.insert(pair, Some(cost));
        Some(cost)
    }
}

/// What of a value a subschema may meet.
fn parts<'v>(about: About<'_>, value: &'v Value) -> Vec<&'v Value> {
    let fields = value.as_object().into_iter().flatten();
    let elements = value.as_array().into_iter().flatten();
    match about {
        About::Nothing => Vec::new(),
        About::Itself => vec![value],
        About::Field(name) => fields.filter(|(field, _)| *field == name).map(|(_, value)| value).collect(),
        About::SomeFields => fields.map(|(_, value)| value).collect(),
        About::Names => fields.map(|_| &NAME).collect(),
        About::Element(number) => elements.skip(number).take(1).collect(),
        About::Elements => elements.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weighs_a_schema_with_all_that_it_refers_to() {
        for (schema, expected) in [
            (json!({}), Some(1)),
            (json!({"properties": {"a": {}, "b": {"items": {}}}}), Some(4)),
            (json!({"$defs": {"a": {"items": {}}}}), Some(1)),
            (
                json!({"$defs": {"a": {"items": {}}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}),
                Some(7),
            ),
            (json!({"properties": {"a": {"$ref": "#"}}}), None),
        ] {
            assert_eq!(weight(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_is_surely_bounded_is() {
        let item = json!({"allOf": [{"minimum": 1}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}]});
        let schema = json!({"items": item, "propertyNames": {"maxLength": 3}});
        for value in [json!([1, "a", [2, [3]], {"a": 1}]), json!({"a": {"b": [1]}}), json!(1)] {
            let mut count = Count { root: &schema, known: BTreeMap::new() };
            let counted = count.of(&schema, &value, 0).unwrap().meetings;
            let values = value.to_string().len();
            assert!(counted <= most(weight(&schema), values).unwrap(), "{value}: {counted}");
        }
        assert!(!is_surely_bounded(Some(2), MEETINGS as usize) && !is_surely_bounded(None, 1));
    }
}
