//! How much work it is to judge a value, and how much there can be to say of it. The operator judges
//! configurations of everybody and the gateway bodies of strangers, and schemas can be written that take
//! longer than anybody lives, or more stack or memory than there is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use serde_json::Value;

use crate::walk::{About, Subschema, identity, referred, subschemas};

/// How much work it may be to judge a value, each unit some ten nanoseconds: many times what schemas of
/// people need.
const WORK: u64 = 1_000_000;
/// How many pairs of a schema and a value are looked at for that.
const PAIRS: usize = 200_000;

/// How many schemas may be met by one value and its parts at once: each takes stack.
const DEPTH: usize = 256;

/// Up to how much work everything that is wrong is gathered. The engine gathers all of it before it
/// gives any, a few hundred bytes for each.
const GATHERED: u64 = 10_000;
/// How many bytes of values may be copied for that: of what fits none of several alternatives, the engine
/// keeps a copy with each thing that is wrong, and each that is told is written out.
const COPIED: u64 = 16 * 1024 * 1024;

/// What a pattern costs, and a format, for each [`LINE`] of a text.
const PATTERN: u64 = 100;
const FORMAT: u64 = 10;
const LINE: usize = 64;

/// What a value takes without the text in it, in bytes.
const VALUE: u64 = 32;

/// The name of a field, as a value: it has no parts.
static NAME: Value = Value::Null;

/// Whether judging the value takes no more than that.
pub(crate) fn is_bounded(root: &Value, value: &Value) -> bool {
    Count::new(root, WORK, u64::MAX).of(root, value, 0).is_some()
}

/// Whether there is no more to say of the value than can be gathered at once.
pub(crate) fn is_told_at_once(root: &Value, value: &Value) -> bool {
    Count::new(root, GATHERED, COPIED).of(root, value, 0).is_some()
}

/// Whether judging a value takes no more than may be, by what it can hold at most.
pub(crate) fn is_surely_bounded(weight: Option<u64>, bytes: usize) -> bool {
    most(weight, bytes).is_some_and(|work| work <= WORK)
}

/// How much work a schema of this weight is at most with a value that is written in so many bytes.
pub(crate) fn most(weight: Option<u64>, bytes: usize) -> Option<u64> {
    weight.map(|weight| weight.saturating_mul(bytes as u64))
}

/// What all positions of a schema cost, with all that each of them refers to: for each byte of a value
/// it is no more. Nothing where it refers to itself.
pub(crate) fn weight(root: &Value) -> Option<u64> {
    fn of(root: &Value, schema: &Value, known: &mut BTreeMap<usize, Option<u64>>) -> Option<u64> {
        if let Some(known) = known.get(&identity(schema)) {
            return *known;
        }
        known.insert(identity(schema), None);
        let Part { own, text, names, long_names, subschemas } = Part::of(schema);
        let mut weight = own + text + names + long_names;
        for Subschema { about, schema, .. } in subschemas {
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

/// Whether one of these keywords, or something with such a name, is anywhere in a document.
pub(crate) fn mentions(document: &Value, keywords: &[&str]) -> bool {
    match document {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| keywords.contains(&name.as_str()) || mentions(value, keywords))
        }
        Value::Array(elements) => elements.iter().any(|element| mentions(element, keywords)),
        _ => false,
    }
}

/// What a schema costs without its subschemas.
struct Part<'s> {
    /// Whatever the value is.
    own: u64,
    /// For each line of a text.
    text: u64,
    /// For each line of a field's name.
    names: u64,
    /// For each line of a field's name but the first.
    long_names: u64,
    subschemas: Vec<Subschema<'s>>,
}

impl<'s> Part<'s> {
    fn of(schema: &'s Value) -> Self {
        let list =
            |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, |list| list.len() as u64);
        let fields = |keyword: &str| schema.get(keyword).and_then(Value::as_object);
        let dependent = fields("dependentRequired").into_iter().flatten();
        let values = ["enum", "const"].into_iter().filter_map(|keyword| schema.get(keyword));
        let own = 1
            + list(schema.get("required"))
            + dependent.map(|(_, names)| 1 + list(Some(names))).sum::<u64>()
            + values.map(nodes).sum::<u64>();
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("regex") => PATTERN,
            Some(_) => FORMAT,
            None => 0,
        };
        let text = text + if schema.get("pattern").is_some() { PATTERN } else { 0 };
        let patterns = fields("patternProperties").map_or(0, |patterns| patterns.len() as u64);
        let names = PATTERN.saturating_mul(patterns);
        // What is met as [`NAME`] has no length.
        let long_names = if schema.get("propertyNames").is_some() { PATTERN } else { 0 };
        Self { own, text, names, long_names, subschemas: subschemas(schema) }
    }

    fn with(&self, value: &Value) -> u64 {
        match value {
            // To count what a text has of characters costs a little too.
            Value::String(text) => self.own + lines(text) / 4 + self.text * lines(text),
            Value::Object(fields) if self.names + self.long_names > 0 => {
                let names = fields.keys().map(|name| lines(name)).sum::<u64>();
                self.own + self.text + self.names * names + self.long_names * (names - fields.len() as u64)
            }
            _ => self.own + self.text,
        }
    }
}

fn lines(text: &str) -> u64 {
    1 + (text.len() / LINE) as u64
}

fn nodes(value: &Value) -> u64 {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(nodes).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(nodes).sum::<u64>(),
        _ => 1,
    }
}

/// What a copy of a value takes.
fn bytes(value: &Value) -> u64 {
    VALUE
        + match value {
            Value::String(text) => text.len() as u64,
            Value::Array(elements) => elements.iter().map(bytes).sum(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| name.len() as u64 + bytes(value)).sum()
            }
            _ => 0,
        }
}

#[derive(Clone, Copy)]
struct Cost {
    work: u64,
    depth: usize,
}

impl Cost {
    fn add(&mut self, part: Self) {
        self.work = self.work.saturating_add(part.work);
        self.depth = self.depth.max(part.depth + 1);
    }
}

struct Count<'s> {
    root: &'s Value,
    /// How much there may be of it all.
    work: u64,
    /// How many bytes more may be copied.
    copied: u64,
    /// What was counted so far.
    spent: u64,
    parts: BTreeMap<usize, Rc<Part<'s>>>,
    /// What a schema and a value cost; absent for a pair that is being counted.
    known: BTreeMap<(usize, usize), Option<Cost>>,
}

impl<'s> Count<'s> {
    fn new(root: &'s Value, work: u64, copied: u64) -> Self {
        Self { root, work, copied, spent: 0, parts: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Nothing where it is too much, goes too deep or never ends, as with a schema that refers to itself
    /// for the same value.
    fn of(&mut self, schema: &'s Value, value: &Value, level: usize) -> Option<Cost> {
        let pair = (identity(schema), identity(value));
        if let Some(known) = self.known.get(&pair) {
            return known.filter(|cost| level + cost.depth <= DEPTH);
        }
        if level > DEPTH || self.known.len() > PAIRS {
            return None;
        }
        self.known.insert(pair, None);
        let part = match self.parts.entry(identity(schema)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(Rc::new(Part::of(schema))).clone(),
        };
        let mut cost = Cost { work: part.with(value), depth: 0 };
        self.spent = self.spent.saturating_add(cost.work);
        if self.copied < u64::MAX {
            self.copied = self.copied.checked_sub(part.own.saturating_mul(bytes(value)))?;
        }
        for Subschema { about, schema, .. } in &part.subschemas {
            if *about == About::Nothing {
                continue;
            }
            let met = parts(*about, value);
            if met.is_empty() {
                // It has been looked for.
                cost.work = cost.work.saturating_add(1);
                self.spent = self.spent.saturating_add(1);
            }
            if self.spent > self.work {
                return None;
            }
            for value in met {
                cost.add(self.of(schema, value, level + 1)?);
            }
        }
        if let Some(target) = referred(self.root, schema) {
            cost.add(self.of(target, value, level + 1)?);
        }
        if cost.work > self.work {
            return None;
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
        About::Field(name) => value.as_object().and_then(|fields| fields.get(name)).into_iter().collect(),
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

    fn counted(schema: &Value, value: &Value) -> u64 {
        Count::new(schema, u64::MAX, u64::MAX).of(schema, value, 0).unwrap().work
    }

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
            (json!({"required": ["a", "b"], "enum": [1, [2, 3]]}), Some(8)),
            (json!({"dependentRequired": {"a": ["b", "c"]}, "const": {"a": 1}}), Some(6)),
            (json!({"pattern": "a", "format": "uri"}), Some(111)),
            (json!({"format": "regex"}), Some(101)),
            (json!({"patternProperties": {"a": {}, "b": {}}}), Some(203)),
        ] {
            assert_eq!(weight(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_a_keyword_asks_for_costs_with_each_value() {
        let names = (0..20).map(|number| number.to_string()).collect::<Vec<_>>();
        let long = "a".repeat(LINE * 10);
        for (schema, value, least) in [
            (json!({"items": {"required": names}}), json!([{}, {}, {}]), 60),
            (json!({"items": {"enum": names}}), json!([1, 2, 3]), 60),
            (json!({"items": {"dependentRequired": {"a": names}}}), json!([1, 2, 3]), 60),
            (json!({"items": {"const": names}}), json!([1, 2, 3]), 60),
            (json!({"items": {"properties": {"a": {}, "b": {}, "c": {}}}}), json!([{}, {}]), 8),
            (json!({"items": {"pattern": "a"}}), json!(["", ""]), 2 * PATTERN),
            (json!({"pattern": "a"}), json!(long), 10 * PATTERN),
            (json!({"format": "uri"}), json!(long), 10 * FORMAT),
            (json!({"patternProperties": {"a": {}, "b": {}}}), json!({"c": 1, "d": 1}), 4 * PATTERN),
            (json!({"patternProperties": {"b": {}}}), json!({long.clone(): 1}), 10 * PATTERN),
            (json!({"propertyNames": {"pattern": "a"}}), json!({"c": 1, "d": 1}), 2 * PATTERN),
            (json!({"propertyNames": {"pattern": "a"}}), json!({long.clone(): 1}), 10 * PATTERN),
        ] {
            let counted = counted(&schema, &value);
            assert!(counted >= least, "{schema}: {counted}");
            assert!(counted <= most(weight(&schema), value.to_string().len()).unwrap(), "{schema}");
        }
    }

    #[test]
    fn what_is_surely_bounded_is() {
        let item = json!({"allOf": [{"minimum": 1}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}]});
        let schema = json!({"items": item, "propertyNames": {"maxLength": 3}});
        for value in [json!([1, "a", [2, [3]], {"a": 1}]), json!({"a": {"b": [1]}}), json!(1)] {
            let counted = counted(&schema, &value);
            let bytes = value.to_string().len();
            assert!(counted <= most(weight(&schema), bytes).unwrap(), "{value}: {counted}");
        }
        assert!(!is_surely_bounded(Some(2), WORK as usize) && !is_surely_bounded(None, 1));
    }

    #[test]
    fn what_would_be_copied_often_is_not_told_at_once() {
        let (one, large) = (json!({"type": "string"}), json!(["a".repeat(100_000)]));
        let of = |branches: usize| json!({"anyOf": [{"allOf": vec![&one; branches]}]});
        assert!(is_told_at_once(&of(10), &large) && !is_told_at_once(&of(1000), &large));
        assert!(is_bounded(&of(1000), &large));
    }
}
