//! Fields of a configuration that no part of its schema speaks of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    pointer::Pointer,
    walk::{About, Subschema, fields, identity, referred, subschemas},
};

/// The places, sorted. What lies within an unknown field is not told as well.
pub(crate) fn keys(root: &Value, config: &Value) -> Vec<Pointer> {
    let mut found = Vec::new();
    search(root, vec![root], config, &Pointer::default(), &mut found);
    found.sort();
    found
}

/// `schemas` are all that have something to say about the value.
fn search(root: &Value, schemas: Vec<&Value>, value: &Value, at: &Pointer, found: &mut Vec<Pointer>) {
    let schemas = together(root, schemas);
    match value {
        Value::Object(object) => {
            let named = schemas.iter().any(|schema| names_fields(schema));
            let parts = Parts::of(&schemas);
            for (name, field) in object {
                let known = parts.of_field(name);
                if named && known.is_empty() {
                    found.push(at.child(name));
                } else {
                    search(root, known, field, &at.child(name), found);
                }
            }
        }
        Value::Array(elements) => {
            let parts = Parts::of(&schemas);
            for (number, element) in elements.iter().enumerate() {
                let known = parts.of_element(number);
                search(root, known, element, &at.child(number.to_string()), found);
            }
        }
        _ => {}
    }
}

/// Whether a schema says which fields there are: one that does not speaks of none in particular.
fn names_fields(schema: &Value) -> bool {
    fields(schema, "properties").is_some()
}

/// The schemas, and those that are about the same value.
fn together<'s>(root: &'s Value, schemas: Vec<&'s Value>) -> Vec<&'s Value> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let mut next = schemas;
    while let Some(schema) = next.pop() {
        if seen.insert(identity(schema)) {
            all.push(schema);
            next.extend(referred(root, schema));
            next.extend(
                subschemas(schema).into_iter().filter(|sub| sub.about == About::Itself).map(|sub| sub.schema),
            );
        }
    }
    all
}

/// The subschemas of some schemas, by what they are about: looked up for each field and each element.
#[derive(Default)]
struct Parts<'s> {
    fields: BTreeMap<&'s str, Vec<&'s Value>>,
    some_fields: Vec<&'s Value>,
    elements: BTreeMap<usize, Vec<&'s Value>>,
    all_elements: Vec<&'s Value>,
}

impl<'s> Parts<'s> {
    fn of(schemas: &[&'s Value]) -> Self {
        let mut parts = Self::default();
        for Subschema { about, schema, .. } in schemas.iter().flat_map(|schema| subschemas(schema)) {
            match about {
                About::Field(name) => parts.fields.entry(name).or_default().push(schema),
                // One that forbids every other field does not know it; one that allows every other,
                // with `true` too, does so on purpose.
                About::SomeFields if *schema == Value::Bool(false) => {}
                About::SomeFields => parts.some_fields.push(schema),
                About::Element(number) => parts.elements.entry(number).or_default().push(schema),
                About::Elements => parts.all_elements.push(schema),
                About::Itself | About::Names | About::Nothing => {}
            }
        }
        parts
    }

    fn of_field(&self, name: &str) -> Vec<&'s Value> {
        self.fields.get(name).into_iter().flatten().chain(&self.some_fields).copied().collect()
    }

    fn of_element(&self, number: usize) -> Vec<&'s Value> {
        self.elements.get(&number).into_iter().flatten().chain(&self.all_elements).copied().collect()
    }
}
