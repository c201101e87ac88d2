//! Questions as they come in, and which of them make sense.

use forward_sdk::{FieldError, Problem};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Aggregate, Function, Key, Period, Query};
use crate::event::{Field, plain};

/// The most groups of an answer.
const GROUPS: usize = 1_000;
const KEYS: usize = 3;
const FILTERS: usize = 16;
const AGGREGATES: usize = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    event_type: Option<String>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    group_by: Vec<String>,
    filters: Map<String, Value>,
    aggregates: Vec<AggregateRequest>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AggregateRequest {
    function: String,
    field: Option<String>,
    percentile: Option<f64>,
}

impl Request {
    /// The question; `oldest` is the first moment of which events are kept.
    ///
    /// # Errors
    /// With everything that makes no sense.
    pub fn check(self, oldest: Timestamp) -> Result<Query, Problem> {
        let Self { event_type, start, end, group_by, filters, aggregates, limit } = self;
        let mut mistakes = Vec::new();
        let query = Query {
            start: start.map_or(oldest, |start| start.max(oldest)),
            end,
            filters: check_filters(event_type, filters, &mut mistakes),
            group_by: check_keys(&group_by, &mut mistakes),
            aggregates: check_aggregates(aggregates, &mut mistakes),
            limit: limit.unwrap_or(GROUPS),
        };
        if start.zip(end).is_some_and(|(start, end)| start > end) {
            mistakes.push(FieldError::new("#/end", "must not be before start"));
        }
        if !(1..=GROUPS).contains(&query.limit) {
            mistakes.push(FieldError::new("#/limit", format!("must be from 1 to {GROUPS}")));
        }
        if mistakes.is_empty() { Ok(query) } else { Err(Problem::invalid(mistakes)) }
    }
}

fn check_filters(
    event_type: Option<String>,
    filters: Map<String, Value>,
    mistakes: &mut Vec<FieldError>,
) -> Vec<(Field, Value)> {
    if filters.len() > FILTERS {
        mistakes.push(FieldError::new("#/filters", format!("must be at most {FILTERS}")));
    }
    if event_type.as_ref().is_some_and(|name| name.contains('\0')) {
        mistakes.push(FieldError::new("#/event_type", "must not have the character U+0000"));
    }
    let mut checked: Vec<_> = event_type.map(|name| (Field::Type, Value::String(name))).into_iter().collect();
    for (name, value) in filters {
        let value = match value {
            Value::Number(number) => Value::Number(plain(&number)),
            other => other,
        };
        match Field::parse(&name) {
            None => mistakes.push(FieldError::new("#/filters", unknown(&name))),
            Some(_) if value.is_array() || value.is_object() => {
                let detail = format!("{name:?} must be a string, a number, a boolean or null");
                mistakes.push(FieldError::new("#/filters", detail));
            }
            Some(_) if value.as_str().is_some_and(|text| text.contains('\0')) => {
                mistakes.push(FieldError::new("#/filters", "must not have the character U+0000"));
            }
            Some(field) => checked.push((field, value)),
        }
    }
    checked
}

fn check_keys(names: &[String], mistakes: &mut Vec<FieldError>) -> Vec<Key> {
    if names.len() > KEYS {
        mistakes.push(FieldError::new("#/group_by", format!("must be at most {KEYS}")));
    }
    let mut keys = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let key = match name.as_str() {
            "minute" => Some(Key::Period(Period::Minute)),
            "hour" => Some(Key::Period(Period::Hour)),
            "day" => Some(Key::Period(Period::Day)),
            name => Field::parse(name).map(Key::Field),
        };
        match key {
            Some(key) if keys.contains(&key) => {
                mistakes.push(FieldError::new(format!("#/group_by/{index}"), "is there twice"));
            }
            Some(key) => keys.push(key),
            None => {
                let detail = format!("{}, minute, hour, day", unknown(name));
                mistakes.push(FieldError::new(format!("#/group_by/{index}"), detail));
            }
        }
    }
    keys
}

fn unknown(name: &str) -> String {
    format!("{name:?} is not one of type, user_id, session_id, properties.NAME")
}

fn check_aggregates(requests: Vec<AggregateRequest>, mistakes: &mut Vec<FieldError>) -> Vec<Aggregate> {
    if requests.len() > AGGREGATES {
        mistakes.push(FieldError::new("#/aggregates", format!("must be at most {AGGREGATES}")));
    }
    if requests.is_empty() {
        return vec![Aggregate { name: "count".to_owned(), function: Function::Count, field: None }];
    }
    let mut aggregates = Vec::<Aggregate>::new();
    for (index, request) in requests.into_iter().enumerate() {
        match check_aggregate(request) {
            Ok(aggregate) if aggregates.iter().any(|other| other.name == aggregate.name) => {
                mistakes.push(FieldError::new(format!("#/aggregates/{index}"), "is there twice"));
            }
            Ok(aggregate) => aggregates.push(aggregate),
            Err((member, detail)) => {
                mistakes.push(FieldError::new(format!("#/aggregates/{index}/{member}"), detail));
            }
        }
    }
    aggregates
}

fn check_aggregate(request: AggregateRequest) -> Result<Aggregate, (&'static str, String)> {
    let AggregateRequest { function: name, field, percentile } = request;
    let function = function(&name, percentile)?;
    let field = match field {
        Some(text) => Some(Field::parse(&text).ok_or_else(|| ("field", unknown(&text)))?),
        None => None,
    };
    match (function, &field) {
        (Function::Count, _) | (_, Some(Field::Property(_))) | (Function::Distinct, Some(_)) => {}
        (Function::Distinct, None) => return Err(("field", "is missing".to_owned())),
        (_, None) => return Err(("field", "is missing; numbers are in properties.NAME".to_owned())),
        (_, Some(_)) => return Err(("field", "must be a property: only they are numbers".to_owned())),
    }
    let name = match (&field, percentile) {
        (None, _) => name,
        (Some(field), Some(percentile)) => format!("{name}({field}, {percentile})"),
        (Some(field), None) => format!("{name}({field})"),
    };
    Ok(Aggregate { name, function, field })
}

fn function(name: &str, percentile: Option<f64>) -> Result<Function, (&'static str, String)> {
    let function = match name {
        "count" => Function::Count,
        "distinct" => Function::Distinct,
        "sum" => Function::Sum,
        "avg" => Function::Avg,
        "min" => Function::Min,
        "max" => Function::Max,
        "p50" => Function::Percentile(0.5),
        "p90" => Function::Percentile(0.9),
        "p95" => Function::Percentile(0.95),
        "p99" => Function::Percentile(0.99),
        "percentile" => match percentile {
            Some(percentile) if (0.0..=100.0).contains(&percentile) => {
                return Ok(Function::Percentile(percentile / 100.0));
            }
            Some(_) => return Err(("percentile", "must be from 0 to 100".to_owned())),
            None => return Err(("percentile", "is missing".to_owned())),
        },
        _ => {
            let known = "count, distinct, sum, avg, min, max, p50, p90, p95, p99, percentile";
            return Err(("function", format!("{name:?} is not one of {known}")));
        }
    };
    match percentile {
        Some(_) => Err(("percentile", "goes with the function \"percentile\" only".to_owned())),
        None => Ok(function),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(request: Value) -> Result<Query, String> {
        let request: Request = serde_json::from_value(request).map_err(|error| error.to_string())?;
        request.check("2026-11-01T00:00:00Z".parse().unwrap()).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn nothing_asked_counts_everything() {
        let query = check(json!({})).unwrap();
        assert_eq!((query.limit, query.start.to_string().as_str()), (1_000, "2026-11-01T00:00:00Z"));
        assert_eq!(query.aggregates[0].function, Function::Count);
    }

    #[test]
    fn no_answer_reaches_back_behind_what_is_kept() {
        let query = check(json!({"start": "2020-01-01T00:00:00Z"})).unwrap();
        assert_eq!(query.start.to_string(), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn results_are_named_as_they_were_asked_for() {
        let query = check(json!({"event_type": "order", "aggregates": [
            {"function": "count"},
            {"function": "p95", "field": "properties.amount"},
            {"function": "percentile", "percentile": 99.9, "field": "properties.amount"},
            {"function": "distinct", "field": "user_id"},
        ]}))
        .unwrap();
        let names: Vec<_> = query.aggregates.iter().map(|aggregate| aggregate.name.as_str()).collect();
        let expected =
            ["count", "p95(properties.amount)", "percentile(properties.amount, 99.9)", "distinct(user_id)"];
        assert_eq!(names, expected);
        assert_eq!(query.filters, [(Field::Type, json!("order"))]);
    }

    #[test]
    fn every_mistake_has_its_place() {
        let said = check(json!({
            "start": "2026-11-02T00:00:00Z", "end": "2026-11-01T00:00:00Z",
            "group_by": ["type", "type", "week"],
            "filters": {"nothing": 1, "properties.list": []},
            "aggregates": [
                {"function": "median"},
                {"function": "sum"},
                {"function": "sum", "field": "user_id"},
                {"function": "percentile", "field": "properties.a", "percentile": 101},
                {"function": "p50", "field": "properties.a", "percentile": 50},
            ],
            "limit": 1001,
        }))
        .unwrap_err();
        for pointer in [
            "#/end",
            "#/group_by/1",
            "#/group_by/2",
            "\\\"nothing\\\"",
            "\\\"properties.list\\\"",
            "#/aggregates/0/function",
            "#/aggregates/1/field",
            "#/aggregates/2/field",
            "#/aggregates/3/percentile",
            "#/aggregates/4/percentile",
            "#/limit",
        ] {
            assert!(said.contains(pointer), "{pointer} in {said}");
        }
    }
}
