//! What a schema says of a configuration: all of it at once, in a stable order.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use crate::{
    certain::Certainty,
    place::{PlaceError, place},
    pointer::Pointer,
    rule,
    schema::Schema,
    value::quoted,
    violation::Violation,
    work,
};

/// What stands for a value that is not known. It is never shown.
const STAND_IN: &str = "a value of configFrom";

/// What is said where it would take too much to say more.
const TOO_MUCH: &str = "is not what the schema asks for, and is too large to say in which places";

impl Schema {
    /// Everything that is wrong with a configuration; where that can be very much, the first of it.
    /// `secrets` are the places of values that
    /// `configFrom` put into it: they are judged like all others, and never shown.
    pub fn check(&self, config: &Value, secrets: &[Pointer]) -> Vec<Violation> {
        Check { schema: self, config, secrets, certainty: None }.run(usize::MAX)
    }

    /// Of what is wrong with a value that a stranger has sent in so many bytes, so much at most: values
    /// can be made so that everything in them is.
    pub fn check_sent(&self, value: &Value, bytes: usize, most: usize) -> Vec<Violation> {
        let check = Check { schema: self, config: value, secrets: &[], certainty: None };
        if self.is_surely_bounded(bytes) { check.find(most) } else { check.run(most) }
    }

    /// Everything that is wrong with a configuration whatever the values are that `configFrom` puts
    /// at the places `secrets`: nothing is known of those but that they are strings. Where that can be
    /// very much, the first of it.
    pub fn check_unread(&self, config: &Value, secrets: &[Pointer]) -> Vec<Violation> {
        let (config, mut violations) = with_stand_ins(config, secrets);
        let certainty = Some(Certainty { root: &self.document, secrets });
        violations.extend(Check { schema: self, config: &config, secrets, certainty }.run(usize::MAX));
        tidy(violations)
    }
}

/// A configuration with something at the places of `secrets`, and which of them cannot be reached.
pub(crate) fn with_stand_ins(config: &Value, secrets: &[Pointer]) -> (Value, Vec<Violation>) {
    let mut config = config.clone();
    let errors = secrets.iter().filter_map(|secret| {
        place(&mut config, secret, STAND_IN.to_owned()).err().map(|error| unreachable(secret, &error))
    });
    let errors = errors.collect();
    (config, errors)
}

fn unreachable(secret: &Pointer, error: &PlaceError) -> Violation {
    Violation { pointer: secret.clone(), rule: format!("cannot be put there: {}", error.why()), value: None }
}

fn tidy(mut violations: Vec<Violation>) -> Vec<Violation> {
    violations.sort();
    violations.dedup();
    violations
}

/// What is wrong, of all that was judged.
fn whole(rule: &str) -> Vec<Violation> {
    vec![Violation { pointer: Pointer::default(), rule: rule.to_owned(), value: None }]
}

struct Check<'a> {
    schema: &'a Schema,
    config: &'a Value,
    secrets: &'a [Pointer],
    /// Where values are not known: how to tell what is wrong whatever they are.
    certainty: Option<Certainty<'a>>,
}

impl Check<'_> {
    fn run(&self, most: usize) -> Vec<Violation> {
        if !work::is_bounded(&self.schema.document, self.config) {
            return whole("takes too long to judge by this schema");
        }
        self.find(most)
    }

    fn find(&self, most: usize) -> Vec<Violation> {
        let Schema { document, validator, has_alternatives, .. } = self.schema;
        if validator.is_valid(self.config) {
            return Vec::new();
        }
        // The engine has all that is wrong in memory before it gives any of it.
        if work::is_told_at_once(document, self.config) {
            let errors = validator.iter_errors(self.config);
            return tidy(errors.flat_map(|error| self.violations(&error)).take(most).collect());
        }
        // Of alternatives it gathers all, also where the first thing is asked for.
        if *has_alternatives {
            let is_known = self.certainty.as_ref().is_none_or(|certainty| certainty.secrets.is_empty());
            return if is_known { whole(TOO_MUCH) } else { Vec::new() };
        }
        let first = validator.validate(self.config).err();
        tidy(first.iter().flat_map(|error| self.violations(error)).take(most).collect())
    }

    fn violations(&self, error: &ValidationError<'_>) -> Vec<Violation> {
        if self.certainty.as_ref().is_some_and(|certainty| !certainty.is_certain(error)) {
            return Vec::new();
        }
        let at = rule::pointer(error.instance_path());
        let rule = rule::text(error.kind());
        match error.kind() {
            Kind::Required { property } => {
                let pointer = at.child(property.as_str().unwrap_or_default());
                vec![Violation { pointer, rule, value: None }]
            }
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().map(|name| self.violation(at.child(name), rule.clone())).collect()
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => self.alternatives(at, rule, context),
            Kind::Type { .. } if self.secrets.contains(&at) => {
                vec![self.violation(at, format!("{rule}, and what configFrom puts there is a string"))]
            }
            _ => vec![self.violation(at, rule)],
        }
    }

    fn violation(&self, pointer: Pointer, rule: String) -> Violation {
        let is_secret = self.secrets.iter().any(|secret| secret.overlaps(&pointer));
        let value = if pointer.segments().is_empty() {
            Some(self.config)
        } else {
            self.config.pointer(&pointer.to_string())
        };
        Violation { value: value.filter(|_| !is_secret).map(quoted), pointer, rule }
    }

    /// What is wrong where none of several alternatives fits: with the one that was meant, where
    /// that can be told.
    fn alternatives(
        &self,
        at: Pointer,
        rule: String,
        context: &[Vec<ValidationError<'static>>],
    ) -> Vec<Violation> {
        let constants: Option<Vec<String>> = context.iter().map(|branch| constant(branch, &at)).collect();
        if let Some(constants) = constants {
            return vec![self.violation(at, format!("must be one of {}", constants.join(", ")))];
        }
        let mut meant = context.iter().filter(|branch| !is_other(branch, &at));
        if let (Some(branch), None) = (meant.next(), meant.next()) {
            let violations: Vec<_> = branch.iter().flat_map(|error| self.violations(error)).collect();
            if !violations.is_empty() {
                return violations;
            }
        }
        vec![self.violation(at, rule)]
    }
}

/// The only value that an alternative allows.
fn constant(branch: &[ValidationError<'static>], at: &Pointer) -> Option<String> {
    match branch {
        [error] if rule::pointer(error.instance_path()) == *at => match error.kind() {
            Kind::Constant { expected_value } => Some(quoted(expected_value)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an alternative is for another kind of value, or for one that is marked as another.
fn is_other(branch: &[ValidationError<'static>], at: &Pointer) -> bool {
    branch.iter().any(|error| match error.kind() {
        Kind::Constant { .. } | Kind::Enum { .. } => true,
        Kind::Type { .. } | Kind::FalseSchema => rule::pointer(error.instance_path()) == *at,
        _ => false,
    })
}
