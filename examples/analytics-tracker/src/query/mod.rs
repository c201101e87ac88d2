//! Questions about events: which, grouped how, and what of each group.
//!
//! [`Evaluation`] is what a question means. A storage that answers by other means must answer the same.

mod evaluation;
mod request;
mod tally;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Field;

pub use self::{evaluation::Evaluation, request::Request};

/// A question that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The first moment.
    pub start: Timestamp,
    /// The moment after the last.
    pub end: Option<Timestamp>,
    /// What each of these fields must be; `null` for one that must not be there.
    pub filters: Vec<(Field, Value)>,
    pub group_by: Vec<Key>,
    pub aggregates: Vec<Aggregate>,
    /// The most groups of an answer.
    pub limit: usize,
}

/// What events are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Field(Field),
    Period(Period),
}

/// A stretch of time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Minute,
    Hour,
    Day,
}

/// What is calculated of each group.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What an answer calls it, for example `sum(properties.amount)`.
    pub name: String,
    pub function: Function,
    pub field: Option<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// The number of events; with a field, of those where it is a string, a number or a boolean.
    Count,
    /// The number of different texts of a field.
    Distinct,
    Sum,
    Avg,
    Min,
    Max,
    /// The value below which this share (0 to 1) of the numbers lies. Between two numbers it is
    /// interpolated in a straight line: definition 7 of Hyndman and Fan (1996), which is
    /// `percentile_cont` of SQL.
    Percentile(f64),
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Answer {
    /// In the order of their keys.
    pub groups: Vec<Group>,
    /// Whether there are more groups than the limit; those that are here are whole.
    pub truncated: bool,
    /// How many events were in the time and passed the filters.
    pub scanned: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Group {
    pub key: Map<String, Value>,
    pub values: Map<String, Value>,
}

impl Query {
    /// A group from its keys' texts and its aggregates' values, in the order of the question.
    pub fn group(&self, keys: Vec<Option<String>>, values: Vec<Value>) -> Group {
        let keys = keys.into_iter().map(|text| text.map_or(Value::Null, Value::String));
        Group {
            key: self.group_by.iter().map(ToString::to_string).zip(keys).collect(),
            values: self.aggregates.iter().map(|aggregate| aggregate.name.clone()).zip(values).collect(),
        }
    }
}

impl Period {
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The name of the period that a moment is in: its first second.
    pub fn name_of(self, moment: Timestamp) -> String {
        let second = moment.as_millisecond().div_euclid(1_000);
        let first = second - second.rem_euclid(self.seconds());
        Timestamp::from_second(first).map_or_else(|_| moment.to_string(), |first| first.to_string())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(field) => write!(f, "{field}"),
            Self::Period(Period::Minute) => f.write_str("minute"),
            Self::Period(Period::Hour) => f.write_str("hour"),
            Self::Period(Period::Day) => f.write_str("day"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_named_by_their_first_second() {
        let moment: Timestamp = "2026-11-23T22:14:15.678Z".parse().unwrap();
        assert_eq!(Period::Minute.name_of(moment), "2026-11-23T22:14:00Z");
        assert_eq!(Period::Hour.name_of(moment), "2026-11-23T22:00:00Z");
        assert_eq!(Period::Day.name_of(moment), "2026-11-23T00:00:00Z");
        let early: Timestamp = "1969-12-31T23:59:59.999Z".parse().unwrap();
        assert_eq!(Period::Hour.name_of(early), "1969-12-31T23:00:00Z");
    }
}
