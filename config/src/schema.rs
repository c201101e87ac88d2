//! A schema that configurations can be judged by, and what is refused as one.

use std::collections::BTreeMap;

use jsonschema::{PatternOptions, Validator, draft202012};
use serde_json::Value;

use crate::{
    check::with_stand_ins,
    defaults::fill_defaults,
    pointer::Pointer,
    rule, unknown,
    value::quoted,
    walk::{Subschema, identity, reference, referred, subschemas},
    work,
};

/// The only version of JSON Schema that there is here.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// How deep schemas may stand in each other, references followed: what reads them needs stack for
/// each level, and nobody writes half as many.
const DEPTH: usize = 128;

/// Keywords by which one name can mean different schemas at different times or places. Without
/// them a `$ref` is a pointer into the document, and nothing else.
const INDIRECT: [&str; 4] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// A schema that configurations can be judged by.
#[derive(Debug)]
pub struct Schema {
    pub(crate) document: Value,
    pub(crate) validator: Validator,
    /// How much there is of it; nothing where that has no end.
    weight: Option<u64>,
    /// Whether there are values that fit one of several.
    pub(crate) has_alternatives: bool,
    has_patterns: bool,
}

/// Why a document is no schema, or none that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}", at = place(pointer))]
pub struct SchemaError {
    /// Where in the document.
    pub pointer: Pointer,
    /// What is wrong there.
    pub message: String,
}

/// What else there is of a schema follows from its document.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Schema {
    /// Reads a schema of JSON Schema 2020-12. References lead to places of the same document
    /// (`#`, `#/$defs/…`); patterns are those that can be matched in linear time (without
    /// look-around and back-references).
    pub fn compile(document: &Value) -> Result<Self, SchemaError> {
        if !document.is_object() {
            return Err(error(
                Pointer::default(),
                format!("a schema is an object, found {}", quoted(document)),
            ));
        }
        Reader { root: document, depths: BTreeMap::new() }.read(document, &Pointer::default(), 0)?;
        let options = draft202012::options()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .offline();
        match options.build(document) {
            Ok(validator) => {
                let document = document.clone();
                let weight = work::weight(&document);
                let has_alternatives = work::mentions(&document, &["anyOf", "oneOf"]);
                let has_patterns = work::mentions(&document, &["pattern", "patternProperties"]);
                Ok(Self { document, validator, weight, has_alternatives, has_patterns })
            }
            Err(found) => {
                let pointer = rule::pointer(found.instance_path());
                Err(error(pointer, rule::of_schema(&found)))
            }
        }
    }

    /// How much work it is at most to judge a value that was written in so many bytes, in parts of some
    /// ten nanoseconds; nothing where that depends on the value, or on what a pattern is made of.
    pub fn most_work(&self, bytes: usize) -> Option<u64> {
        work::most(self.weight.filter(|_| !self.has_patterns), bytes)
    }

    /// Whether a value that was written in so many bytes can be judged without a look at how much work
    /// that is.
    pub(crate) fn is_surely_bounded(&self, bytes: usize) -> bool {
        work::is_surely_bounded(self.weight, bytes)
    }

    /// Puts the schema's defaults into a configuration. See [`fill_defaults`].
    pub fn defaults_into(&self, config: &mut Value) {
        fill_defaults(&self.document, config);
    }

    /// The places of a configuration that no part of the schema speaks of, sorted: mostly
    /// misspelt. `secrets` are places that `configFrom` fills. A schema that allows further fields by
    /// `additionalProperties`, `unevaluatedProperties` or `patternProperties` knows them all; one
    /// that takes too long to judge by knows nothing better.
    pub fn unknown_keys(&self, config: &Value, secrets: &[Pointer]) -> Vec<Pointer> {
        let (config, _) = with_stand_ins(config, secrets);
        if !work::is_bounded(&self.document, &config) {
            return Vec::new();
        }
        unknown::keys(&self.document, &config)
    }
}

/// Walks all of a schema, each part of it once.
struct Reader<'s> {
    root: &'s Value,
    /// How many levels stand below a schema that was read; none yet for one that is being read.
    depths: BTreeMap<usize, usize>,
}

impl<'s> Reader<'s> {
    fn read(&mut self, schema: &'s Value, at: &Pointer, level: usize) -> Result<usize, SchemaError> {
        if let Some(depth) = self.depths.get(&identity(schema)) {
            return deep_enough(at, level + depth).map(|()| *depth);
        }
        deep_enough(at, level)?;
        self.depths.insert(identity(schema), 0);
        check_identity(schema, at)?;
        let mut depth = 0;
        for Subschema { keyword, part, schema, .. } in subschemas(schema) {
            let at = at.child(keyword);
            let at = part.map_or(at.clone(), |part| at.child(part));
            depth = depth.max(1 + self.read(schema, &at, level + 1)?);
        }
        if let Some(text) = reference(schema) {
            let target = referred(self.root, schema).ok_or_else(|| dangling(at, text))?;
            depth = depth.max(1 + self.read(target, at, level + 1)?);
        }
        self.depths.insert(identity(schema), depth);
        Ok(depth)
    }
}

fn deep_enough(at: &Pointer, level: usize) -> Result<(), SchemaError> {
    if level > DEPTH {
        return Err(error(at.clone(), format!("schemas stand in each other more than {DEPTH} deep")));
    }
    Ok(())
}

fn check_identity(schema: &Value, at: &Pointer) -> Result<(), SchemaError> {
    let has = |keyword: &str| schema.get(keyword).is_some();
    let text = |keyword: &str| schema.get(keyword).map(quoted).unwrap_or_default();
    if let Some(keyword) = INDIRECT.into_iter().find(|keyword| has(keyword)) {
        let message = "is not followed: refer to a place of the same document, as \"#/$defs/NAME\"";
        return Err(error(at.child(keyword), message.to_owned()));
    }
    let is_root = at.segments().is_empty();
    if !is_root && has("$id") {
        let message =
            "is for the whole document: a schema that holds others with names of their own is not followed";
        return Err(error(at.child("$id"), message.to_owned()));
    }
    let other_draft = schema.get("$schema").filter(|draft| draft.as_str() != Some(DRAFT));
    if other_draft.is_some() {
        let message = format!("only \"{DRAFT}\" is read, found {}", text("$schema"));
        return Err(error(at.child("$schema"), message));
    }
    Ok(())
}

fn dangling(at: &Pointer, text: &str) -> SchemaError {
    let message = if text.starts_with('#') {
        format!("refers to \"{text}\", which is not there")
    } else {
        format!(
            "refers to \"{text}\", which is another document: nothing is fetched; copy it into \"#/$defs\""
        )
    };
    error(at.child("$ref"), message)
}

fn error(pointer: Pointer, message: String) -> SchemaError {
    SchemaError { pointer, message }
}

fn place(pointer: &Pointer) -> String {
    if pointer.segments().is_empty() { "the schema".to_owned() } else { pointer.to_string() }
}
