//! What a schema asks for, in words. Written from what the schema says and never from what is
//! there, so that a rule can be shown whatever it was that broke it.

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::Location,
};
use serde_json::Value;

use crate::{
    pointer::Pointer,
    value::{quoted, shortened},
};

/// What a place must be, or what it must be like.
pub(crate) fn text(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Required { .. } => "is required".to_owned(),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "is not a property of the schema".to_owned()
        }
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => "holds too many elements".to_owned(),
        Kind::FalseSchema => "must not be there".to_owned(),
        Kind::Enum { options } => format!("must be one of {}", choices(options)),
        Kind::Constant { expected_value } => format!("must be {}", quoted(expected_value)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {}", count(*limit, "character")),
        Kind::MaxLength { limit } => format!("must have at most {}", count(*limit, "character")),
        Kind::MinItems { limit } => format!("must have at least {}", count(*limit, "element")),
        Kind::MaxItems { limit } => format!("must have at most {}", count(*limit, "element")),
        Kind::MinProperties { limit } => format!("must have at least {}", count(*limit, "field")),
        Kind::MaxProperties { limit } => format!("must have at most {}", count(*limit, "field")),
        Kind::UniqueItems => "must not hold an element twice".to_owned(),
        Kind::Contains => "does not hold the elements that it must".to_owned(),
        Kind::Pattern { pattern } => format!("must match {}", shortened(pattern)),
        Kind::Format { format } => format!("must have the format {}", shortened(format)),
        Kind::ContentEncoding { content_encoding: what }
        | Kind::ContentMediaType { content_media_type: what } => {
            format!("must be encoded as {}", shortened(what))
        }
        Kind::PropertyNames { error } => {
            format!("has a field whose name does not fit: it {}", text(error.kind()))
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            format!("must fit one of {}", count(context.len() as u64, "alternative"))
        }
        Kind::OneOfMultipleValid { .. } => "must fit one of the alternatives, and fits several".to_owned(),
        Kind::Not { .. } => "is what it must not be".to_owned(),
        other => format!("does not fit (rule {})", other.keyword()),
    }
}

/// What is wrong with a schema. It holds no secrets, so that it can be quoted.
pub(crate) fn of_schema(error: &ValidationError<'_>) -> String {
    let is_type = error.instance_path().as_str().ends_with("/type");
    match error.kind() {
        Kind::AnyOf { .. } | Kind::Enum { .. } if is_type => {
            let known = "array, boolean, integer, null, number, object and string";
            format!("{} is no type: there are {known}", quoted(error.instance()))
        }
        Kind::Referencing(source) => source.to_string(),
        Kind::Format { format } if format == "regex" => {
            format!(
                "{} is no pattern, or not one that can be matched in linear time",
                quoted(error.instance())
            )
        }
        kind => format!("{}, found {}", text(kind), quoted(error.instance())),
    }
}

/// A place that the validator names.
pub(crate) fn pointer(location: &Location) -> Pointer {
    Pointer::try_from(location.as_str().to_owned()).unwrap_or_default()
}

fn types(kind: &TypeKind) -> String {
    let named = |kind: JsonType| match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    };
    match kind {
        TypeKind::Single(kind) => named(*kind).to_owned(),
        TypeKind::Multiple(kinds) => kinds.iter().map(named).collect::<Vec<_>>().join(" or "),
    }
}

fn choices(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    shortened(&options.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
