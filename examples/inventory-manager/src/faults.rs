//! Collects everything that is wrong with what somebody sent, so that one answer tells all of it.

use std::fmt;

use forward_sdk::{FieldError, Problem};

/// What is wrong, each with the JSON pointer of its place.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    pub fn add(&mut self, pointer: impl Into<String>, complaint: impl Into<String>) {
        self.0.push((pointer.into(), complaint.into()));
    }

    /// Adds the fault of a value that is not within bounds.
    pub fn bound(&mut self, pointer: impl Into<String>, value: i64, least: i64, most: i64) {
        if !(least..=most).contains(&value) {
            self.add(pointer, format!("must be from {least} to {most}"));
        }
    }

    /// The value, if nothing was wrong on the way to it.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// For a configuration, in the words that the SDK has for one.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (pointer, complaint)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{pointer}: {complaint}")?;
        }
        Ok(())
    }
}

/// For a request's body.
impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let errors = faults.0.into_iter();
        Self::invalid(errors.map(|(pointer, complaint)| FieldError::new(format!("#{pointer}"), complaint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_every_fault_or_gives_the_value() {
        assert_eq!(Faults::default().none_or(1), Ok(1));
        let mut faults = Faults::default();
        faults.bound("/price", -1, 0, 9);
        faults.bound("/on_hand", 9, 0, 9);
        faults.add("/name", "must not be empty");
        let faults = faults.none_or(1).unwrap_err();
        assert_eq!(faults.to_string(), "/price: must be from 0 to 9; /name: must not be empty");
    }
}
