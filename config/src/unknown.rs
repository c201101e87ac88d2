//! Fields of a configuration that no part of its schema speaks of.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    pointer::Pointer,
    walk::{About, fields, identity, referred, subschemas},
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
            for (name, field) in object {
                let known = about(&schemas, |about| match about {
                    About::Field(known) => known == name,
                    About::SomeFields => true,
                    _ => false,
                });
                if named && known.is_empty() {
                    found.push(at.child(name));
                } else {
                    search(root, known, field, &at.child(name), found);
                }
            }
        }
        Value::Array(elements) => {
            for (number, element) in elements.iter().enumerate() {
                let known = about(&schemas, |about| match about {
                    About::Element(known) => known == number,
                    About::Elements => true,
                    _ => false,
                });
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

/// The subschemas that are about something. A schema that forbids every other field does not know
/// it; one that allows every other, with `true` too, does so on purpose.
fn about<'s>(schemas: &[&'s Value], wanted: impl Fn(About<'_>) -> bool) -> Vec<&'s Value> {
    let subschemas = schemas.iter().flat_map(|schema| subschemas(schema));
    let wanted = subschemas.filter(|sub| wanted(sub.about));
    wanted
        .filter(|sub| sub.about != About::SomeFields || *sub.schema != Value::Bool(false))
        .map(|sub| sub.schema)
        .collect()
}
