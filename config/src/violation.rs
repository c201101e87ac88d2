//! What a configuration does against its schema, in a line for people.

use std::fmt;

use crate::pointer::Pointer;

/// How many violations a text lists, and how long it may become. With both a text fits into a
/// termination message (4 KiB) and is still one that somebody reads.
const LISTED: usize = 16;
const LONGEST: usize = 3_000;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where.
    pub pointer: Pointer,
    /// What the schema asks for there.
    pub rule: String,
    /// What is there, as JSON, cut where it is long. Absent where nothing is there, or where it is or
    /// holds what comes from a Secret.
    pub value: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, rule, value } = self;
        write!(f, "{pointer}: {rule}")?;
        value.as_ref().map_or(Ok(()), |value| write!(f, ", found {value}"))
    }
}

/// Violations in one text; of very many the first, and how many more there are.
pub fn list(violations: &[Violation]) -> String {
    let mut text = String::new();
    for (number, violation) in violations.iter().enumerate() {
        let next = violation.to_string();
        if number > 0 && (number == LISTED || text.len() + next.len() > LONGEST) {
            return format!("{text} and {} more", violations.len() - number);
        }
        text.push_str(if number == 0 { "" } else { "; " });
        text.push_str(&next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(count: usize, length: usize) -> Vec<Violation> {
        let violation = |number: usize| Violation {
            pointer: Pointer::new(vec![number.to_string()]),
            rule: "r".repeat(length),
            value: None,
        };
        (0..count).map(violation).collect()
    }

    #[test]
    fn lists_the_first_and_counts_the_others() {
        assert_eq!(list(&violations(2, 1)), "/0: r; /1: r");
        assert!(list(&violations(20, 1)).ends_with("/15: r and 4 more"));
        let long = list(&violations(16, 500));
        assert!(long.len() < LONGEST + 600 && long.ends_with(" and 11 more"), "{long}");
    }
}
