//! Finds everything that is wrong with a document, where serde stops at the first error.
//!
//! After each error the place in question is filled with a stand-in (nothing, `""`, 0, …) under
//! which reading gets further, and read again: the next error is one that the author of the
//! document would otherwise meet a try later.

use std::fmt;

use forward_config::Pointer;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use super::value::{Complaint, Source};

/// More than this nobody reads; it also bounds the work.
const MOST: usize = 16;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub pointer: Pointer,
    pub complaint: Complaint,
}

/// Reads a document; `secrets` are the places whose content no message may quote.
pub fn deserialize<C: DeserializeOwned>(config: &Value, secrets: &[Pointer]) -> Result<C, Vec<Problem>> {
    let mut problem = match read(config) {
        Ok(config) => return Ok(config),
        Err(problem) => problem,
    };
    let mut patched = config.clone();
    let mut problems = Vec::new();
    loop {
        let next = step_past::<C>(&mut patched, &problem);
        problems.push(problem);
        match next {
            Some(next) if problems.len() < MOST && !is_our_doing(&next, &problems) => problem = next,
            _ => break,
        }
    }
    problems.sort_by_key(|problem| problem.pointer.to_string());
    Err(problems.into_iter().map(|problem| problem.without_secrets(secrets)).collect())
}

/// Whether a problem may come from a stand-in: what a type's own check says, or a place that had one.
fn is_our_doing(next: &Problem, problems: &[Problem]) -> bool {
    matches!(next.complaint, Complaint::Other(_))
        || problems.iter().any(|problem| problem.pointer.overlaps(&next.pointer))
}

fn read<C: DeserializeOwned>(config: &Value) -> Result<C, Problem> {
    serde_path_to_error::deserialize(Source(config)).map_err(|error| {
        let parent = Pointer::new(error.path().iter().filter_map(segment).collect());
        let complaint = error.into_inner();
        let pointer = match &complaint {
            Complaint::MissingField(field) => parent.child(*field),
            Complaint::UnknownField { field, .. } if parent.segments().last() != Some(field) => {
                parent.child(field)
            }
            _ => parent,
        };
        Problem { pointer, complaint }
    })
}

fn segment(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    }
}

/// Changes `config` at the problem's place so that reading meets another problem, and returns that;
/// `None` when there is no other, or none that can be reached.
fn step_past<C: DeserializeOwned>(config: &mut Value, problem: &Problem) -> Option<Problem> {
    let mut choices = Vec::new();
    if let Complaint::Choice { expected } = problem.complaint {
        choices.extend(expected.first().map(|choice| Some(json!(choice))));
    }
    let kinds = [json!(""), json!(0), json!(false), json!([]), Value::Object(Map::new()), json!("0s")];
    choices.extend(kinds.map(Some));
    // Last, since it makes a required field a missing one.
    choices.push(None);
    for stand_in in choices {
        let mut candidate = config.clone();
        if !replace(&mut candidate, problem.pointer.segments(), stand_in) {
            continue;
        }
        match read::<C>(&candidate) {
            Ok(_) => return None,
            Err(next) if !next.pointer.overlaps(&problem.pointer) => {
                *config = candidate;
                return Some(next);
            }
            Err(_) => {}
        }
    }
    None
}

/// Puts a value, or nothing, at a place; false when the place does not exist.
fn replace(config: &mut Value, segments: &[String], stand_in: Option<Value>) -> bool {
    let Some((last, way)) = segments.split_last() else { return false };
    let mut spot = config;
    for segment in way {
        let next = match spot {
            Value::Object(fields) => fields.get_mut(segment),
            Value::Array(elements) => segment.parse::<usize>().ok().and_then(|i| elements.get_mut(i)),
            _ => None,
        };
        let Some(next) = next else { return false };
        spot = next;
    }
    match (spot, stand_in) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(last.clone(), value);
            true
        }
        (Value::Object(fields), None) => fields.remove(last).is_some(),
        (Value::Array(elements), Some(value)) => {
            let element = last.parse::<usize>().ok().and_then(|index| elements.get_mut(index));
            element.map(|element| *element = value).is_some()
        }
        _ => false,
    }
}

impl Problem {
    fn without_secrets(self, secrets: &[Pointer]) -> Self {
        let secret = secrets.iter().any(|secret| secret.overlaps(&self.pointer));
        match self.complaint {
            Complaint::Other(_) if secret => Self {
                complaint: Complaint::Other("is refused; why is not said, as it holds a secret".to_owned()),
                ..self
            },
            _ => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, complaint } = self;
        match complaint {
            Complaint::MissingField(_) | Complaint::UnknownField { .. } => {
                write!(f, "{pointer} {complaint}")
            }
            _ => write!(f, "{pointer}: {complaint}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Config {
        currency: Currency,
        max_amount: u32,
        #[serde(default, deserialize_with = "crate::duration::deserialize")]
        patience: std::time::Duration,
        limits: Option<Vec<Limit>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Currency {
        Eur,
        Usd,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Limit {
        per: String,
        #[serde(default)]
        count: u8,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Login {
        pin: Pin,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Pin;

    impl TryFrom<String> for Pin {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            Err(format!("{text:?} is no pin"))
        }
    }

    fn problems<C: DeserializeOwned>(config: Value, secrets: &[&str]) -> Vec<String> {
        let secrets: Vec<_> =
            secrets.iter().map(|text| Pointer::try_from((*text).to_owned()).unwrap()).collect();
        let problems = deserialize::<C>(&config, &secrets).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_every_problem_at_once() {
        let config = json!({
            "currency": "GBP",
            "max_amonut": 5,
            "patience": "soon",
            "limits": [{"per": "day", "count": 300}, {"count": "many"}],
        });
        assert_eq!(
            problems::<Config>(config, &[]),
            [
                "/currency: expected one of EUR, USD",
                "/limits/0/count: expected u8, found another whole number",
                "/limits/1/count: expected u8, found a string",
                "/limits/1/per is missing",
                "/max_amonut is not a field; the fields are currency, max_amount, patience, limits",
                "/max_amount is missing",
                "/patience: expected a duration such as 500ms, 10s or 1m30s, found another string",
            ]
        );
    }

    #[test]
    fn a_good_configuration_has_no_problems() {
        let config = json!({"currency": "EUR", "max_amount": 5, "patience": "1s"});
        assert!(problems::<Config>(config, &[]).is_empty());
    }

    #[test]
    fn withholds_what_a_types_own_check_says_of_a_secret() {
        let config = json!({"pin": "1234"});
        assert_eq!(problems::<Login>(config.clone(), &[]), [r#"/pin: "1234" is no pin"#]);
        assert_eq!(
            problems::<Login>(config, &["/pin"]),
            ["/pin: is refused; why is not said, as it holds a secret"]
        );
    }
}
