//! What is wrong with a configuration whatever the values are that are not known. Errs on the side
//! of saying nothing: the plugin looks again when it has the values.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use crate::{
    pointer::Pointer,
    rule,
    walk::{About, referred, subschemas},
};

/// Keywords that look at nothing but a value's kind, or at which fields or how many elements there
/// are, and those that say nothing of it.
const BLIND: [&str; 20] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "dependentRequired",
    "deprecated",
    "description",
    "examples",
    "maxItems",
    "maxProperties",
    "minItems",
    "minProperties",
    "propertyNames",
    "readOnly",
    "required",
    "title",
    "type",
    "writeOnly",
];

/// How to tell what is certain.
pub(crate) struct Certainty<'a> {
    pub root: &'a Value,
    /// Places of which nothing is known but that there is a string.
    pub secrets: &'a [Pointer],
}

impl Certainty<'_> {
    pub fn is_certain(&self, error: &ValidationError<'_>) -> bool {
        let at = rule::pointer(error.instance_path());
        if self.hangs_on_a_secret(error, &at) {
            return false;
        }
        let is_secret = self.secrets.contains(&at);
        if !is_secret && !self.secrets.iter().any(|secret| at.holds(secret)) {
            return true;
        }
        match error.kind() {
            Kind::Type { .. }
            | Kind::Required { .. }
            | Kind::AdditionalProperties { .. }
            | Kind::AdditionalItems { .. }
            | Kind::PropertyNames { .. }
            | Kind::FalseSchema
            | Kind::MinItems { .. }
            | Kind::MaxItems { .. }
            | Kind::MinProperties { .. }
            | Kind::MaxProperties { .. } => true,
            Kind::Enum { options } => {
                is_secret && options.as_array().is_some_and(|options| !options.iter().any(Value::is_string))
            }
            Kind::Constant { expected_value } => is_secret && !expected_value.is_string(),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                context.iter().all(|branch| branch.iter().any(|error| self.is_certain(error)))
            }
            _ => false,
        }
    }

    /// Whether the part of the schema that complains applies only because of what a secret is: it is
    /// walked the way that the validator went.
    fn hangs_on_a_secret(&self, error: &ValidationError<'_>, at: &Pointer) -> bool {
        let way = rule::pointer(error.evaluation_path());
        let mut way = way.segments().iter().map(String::as_str);
        let mut schema = Some(self.root);
        let mut met = at.segments().iter();
        let mut within: Vec<&[String]> = self.secrets.iter().map(Pointer::segments).collect();
        while let (Some(keyword), Some(here)) = (way.next(), schema) {
            let below = here.get(keyword);
            let steps_in = match keyword {
                "then" | "else" if here.get("if").is_some_and(|test| looks_at(test, &within)) => return true,
                "$ref" => {
                    schema = referred(self.root, here);
                    continue;
                }
                "properties" | "patternProperties" | "prefixItems" => {
                    schema = way.next().and_then(|part| part_of(below?, part));
                    true
                }
                "allOf" | "anyOf" | "oneOf" | "dependentSchemas" => {
                    schema = way.next().and_then(|part| part_of(below?, part));
                    false
                }
                keyword => {
                    schema = below;
                    matches!(
                        keyword,
                        "additionalProperties"
                            | "items"
                            | "contains"
                            | "unevaluatedProperties"
                            | "unevaluatedItems"
                    )
                }
            };
            if steps_in {
                let step = met.next();
                within = within.into_iter().filter_map(|way| inside(way, step?)).collect();
            }
        }
        false
    }
}

fn part_of<'s>(value: &'s Value, part: &str) -> Option<&'s Value> {
    match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        value => value.get(part),
    }
}

/// What is left of a way after its first step, where that is the one.
fn inside<'w>(way: &'w [String], step: &str) -> Option<&'w [String]> {
    way.split_first().filter(|(first, _)| *first == step).map(|(_, rest)| rest)
}

/// Whether what a schema says of a value can hang on what is in the places that `ways` lead to.
fn looks_at(schema: &Value, ways: &[&[String]]) -> bool {
    let Some(keywords) = schema.as_object() else { return false };
    if ways.is_empty() {
        return false;
    }
    let parts = subschemas(schema);
    let is_followed =
        |keyword: &str| parts.iter().any(|part| part.keyword == keyword && is_plain(part.about));
    let is_blind =
        |keyword: &str| BLIND.contains(&keyword) || keyword == "properties" || is_followed(keyword);
    if !keywords.keys().all(|keyword| is_blind(keyword)) {
        return true;
    }
    parts.iter().any(|part| match part.about {
        About::Itself => looks_at(part.schema, ways),
        About::Field(name) => {
            let inner: Vec<&[String]> = ways.iter().filter_map(|way| inside(way, name)).collect();
            looks_at(part.schema, &inner)
        }
        _ => false,
    })
}

fn is_plain(about: About<'_>) -> bool {
    matches!(about, About::Itself | About::Field(_))
}
