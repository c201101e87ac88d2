//! The positions of a schema that hold schemas themselves, and what in a configuration each of them
//! is about. The one table of keywords that everything here which walks a schema goes by.

use serde_json::{Map, Value};

/// What a subschema is about, seen from the value that its schema is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About<'s> {
    /// The same value.
    Itself,
    /// The field of that name.
    Field(&'s str),
    /// Fields, which of them is not told by a name alone.
    SomeFields,
    /// The names of the fields.
    Names,
    /// The element of that number.
    Element(usize),
    /// Elements.
    Elements,
    /// Nothing: it is there to be referred to.
    Nothing,
}

/// A subschema: where it stands in its schema, and what it is about.
pub(crate) struct Subschema<'s> {
    pub keyword: &'s str,
    /// The key or index below the keyword, where it has several.
    pub part: Option<String>,
    pub about: About<'s>,
    pub schema: &'s Value,
}

/// All subschemas of a schema, without what `$ref` leads to.
pub(crate) fn subschemas(schema: &Value) -> Vec<Subschema<'_>> {
    let mut found = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "not" | "if" | "then" | "else" => one(&mut found, keyword, About::Itself, value),
            "additionalProperties" | "unevaluatedProperties" => {
                one(&mut found, keyword, About::SomeFields, value);
            }
            "propertyNames" => one(&mut found, keyword, About::Names, value),
            "items" | "contains" | "unevaluatedItems" => one(&mut found, keyword, About::Elements, value),
            "contentSchema" => one(&mut found, keyword, About::Nothing, value),
            "allOf" | "anyOf" | "oneOf" => list(&mut found, keyword, |_| About::Itself, value),
            "prefixItems" => list(&mut found, keyword, About::Element, value),
            "properties" => map(&mut found, keyword, About::Field, value),
            "patternProperties" => map(&mut found, keyword, |_| About::SomeFields, value),
            "dependentSchemas" => map(&mut found, keyword, |_| About::Itself, value),
            "$defs" | "definitions" => map(&mut found, keyword, |_| About::Nothing, value),
            _ => {}
        }
    }
    found
}

/// What a schema's `$ref` names; nothing where it has none, or where nothing is there.
pub(crate) fn referred<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    root.pointer(reference(schema)?.strip_prefix('#')?)
}

/// A schema's `$ref`.
pub(crate) fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()
}

/// What tells one position of a document from every other while the document is borrowed.
pub(crate) fn identity(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// A schema's fields; none for `true` and `false`.
pub(crate) fn fields<'s>(schema: &'s Value, keyword: &str) -> Option<&'s Map<String, Value>> {
    schema.get(keyword)?.as_object()
}

fn one<'s>(found: &mut Vec<Subschema<'s>>, keyword: &'s str, about: About<'s>, schema: &'s Value) {
    found.push(Subschema { keyword, part: None, about, schema });
}

fn list<'s>(
    found: &mut Vec<Subschema<'s>>,
    keyword: &'s str,
    about: impl Fn(usize) -> About<'s>,
    value: &'s Value,
) {
    for (number, schema) in value.as_array().into_iter().flatten().enumerate() {
        found.push(Subschema { keyword, part: Some(number.to_string()), about: about(number), schema });
    }
}

fn map<'s>(
    found: &mut Vec<Subschema<'s>>,
    keyword: &'s str,
    about: impl Fn(&'s str) -> About<'s>,
    value: &'s Value,
) {
    for (name, schema) in value.as_object().into_iter().flatten() {
        found.push(Subschema { keyword, part: Some(name.clone()), about: about(name), schema });
    }
}
