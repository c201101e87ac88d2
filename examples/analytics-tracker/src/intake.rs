//! What is taken for an event. Pure: the clock is an argument.
//!
//! Owns every limit on what comes in. Invariant: what leaves here fits into each of the storages, and
//! means the same in all of them.

use forward_sdk::{FieldError, Problem, json};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::event::{Event, plain};

/// The most events that come in at once.
const BATCH: usize = 1_000;
/// The longest type, in characters.
const TYPE: usize = 100;
/// The longest id of an event, a user or a session, in characters.
const ID: usize = 200;
/// The most properties of an event.
const PROPERTIES: usize = 64;
/// The longest name of a property, in characters.
const NAME: usize = 100;
/// The largest event, in bytes of JSON.
const EVENT: usize = 16 << 10;
/// The greatest number: sums of it stay far from what a float can hold.
const NUMBER: f64 = 1e300;
/// How far an event's clock may be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// More mistakes than this nobody reads.
const MISTAKES: usize = 50;

/// The times from which events are taken.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub now: Timestamp,
    pub retention: SignedDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    events: Vec<Incoming>,
}

/// An event as it comes in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming {
    id: Option<String>,
    r#type: String,
    user_id: Option<String>,
    session_id: Option<String>,
    #[serde(default)]
    properties: Map<String, Value>,
    timestamp: Option<Timestamp>,
}

/// Reads one event or a batch: `{"type": …}` or `{"events": [{"type": …}, …]}`.
///
/// # Errors
/// With everything that is wrong, each at its pointer; then nothing of a batch is taken.
pub fn read(body: &Value, window: Window) -> Result<Vec<Event>, Problem> {
    let is_batch = body.get("events").is_some();
    let bytes = body.to_string();
    let incoming = match is_batch {
        true => json::read::<Batch>(bytes.as_bytes())?.events,
        false => vec![json::read::<Incoming>(bytes.as_bytes())?],
    };
    if incoming.is_empty() || incoming.len() > BATCH {
        let detail = format!("must be 1 to {BATCH} events, found {}", incoming.len());
        return Err(Problem::invalid([FieldError::new("#/events", detail)]));
    }
    let (mut events, mut mistakes) = (Vec::with_capacity(incoming.len()), Vec::new());
    for (index, incoming) in incoming.into_iter().enumerate() {
        let at = if is_batch { format!("#/events/{index}") } else { "#".to_owned() };
        let event = incoming.settle(window.now);
        mistakes.extend(check(&event, window).into_iter().map(|(place, detail)| {
            let pointer = if place.is_empty() { at.clone() } else { format!("{at}/{place}") };
            FieldError::new(pointer, detail)
        }));
        events.push(event);
    }
    mistakes.truncate(MISTAKES);
    if mistakes.is_empty() { Ok(events) } else { Err(Problem::invalid(mistakes)) }
}

impl Incoming {
    /// The event in the form in which it is kept: times in whole milliseconds, numbers plain.
    fn settle(self, now: Timestamp) -> Event {
        let Self { id, r#type: kind, user_id, session_id, mut properties, timestamp } = self;
        properties.values_mut().for_each(make_plain);
        let timestamp = timestamp.unwrap_or(now);
        let timestamp = Timestamp::from_millisecond(timestamp.as_millisecond())
            .expect("a timestamp without its microseconds is a timestamp");
        Event { id, kind, user_id, session_id, properties, timestamp }
    }
}

fn make_plain(value: &mut Value) {
    match value {
        Value::Number(number) => *number = plain(number),
        Value::Array(elements) => elements.iter_mut().for_each(make_plain),
        Value::Object(fields) => fields.values_mut().for_each(make_plain),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What is wrong with an event, by the field where it is.
fn check(event: &Event, Window { now, retention }: Window) -> Vec<(&'static str, String)> {
    let mut mistakes = Vec::new();
    let texts = [
        ("type", Some(&event.kind), TYPE),
        ("id", event.id.as_ref(), ID),
        ("user_id", event.user_id.as_ref(), ID),
        ("session_id", event.session_id.as_ref(), ID),
    ];
    for (place, text, limit) in texts {
        mistakes.extend(text.and_then(|text| check_text(text, limit)).map(|detail| (place, detail)));
    }
    if event.timestamp > now + AHEAD {
        mistakes.push(("timestamp", "must not be more than a day ahead".to_owned()));
    }
    if event.timestamp < now - retention {
        let days = retention.as_hours() / 24;
        mistakes.push(("timestamp", format!("must not be older than the {days} days that events are kept")));
    }
    if let Some(detail) = check_properties(&event.properties) {
        mistakes.push(("properties", detail));
    }
    // Measured as it is kept.
    let size = serde_json::to_vec(event).map_or(usize::MAX, |bytes| bytes.len());
    if size > EVENT {
        mistakes.push(("", format!("must be at most {EVENT} bytes of JSON, found {size}")));
    }
    mistakes
}

fn check_text(text: &str, limit: usize) -> Option<String> {
    let length = text.chars().count();
    if length == 0 || length > limit {
        return Some(format!("must be 1 to {limit} characters, found {length}"));
    }
    text.chars().any(char::is_control).then(|| "must not have control characters".to_owned())
}

fn check_properties(properties: &Map<String, Value>) -> Option<String> {
    if properties.len() > PROPERTIES {
        return Some(format!("must be at most {PROPERTIES}, found {}", properties.len()));
    }
    if properties.keys().any(|name| name.is_empty() || name.chars().count() > NAME) {
        return Some(format!("names must be 1 to {NAME} characters"));
    }
    properties.iter().find_map(|(name, value)| check_name(name).or_else(|| check_value(value)))
}

/// PostgreSQL's texts and JSON have no place for U+0000.
fn check_name(text: &str) -> Option<String> {
    text.contains('\0').then(|| "must not have the character U+0000".to_owned())
}

fn check_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => check_name(text),
        Value::Number(number) if number.as_f64().is_none_or(|number| number.abs() > NUMBER) => {
            Some(format!("numbers must be from -{NUMBER:e} to {NUMBER:e}"))
        }
        Value::Array(elements) => elements.iter().find_map(check_value),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| check_name(name).or_else(|| check_value(value)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use forward_sdk::axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn window() -> Window {
        Window {
            now: "2026-11-23T12:00:00.1234Z".parse().unwrap(),
            retention: SignedDuration::from_hours(48),
        }
    }

    fn mistakes(body: &Value) -> String {
        let problem = read(body, window()).unwrap_err();
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        format!("{problem:?}")
    }

    #[test]
    fn takes_one_or_many_and_gives_them_the_time() {
        let one = read(&json!({"type": "a", "properties": {"n": 1.0}}), window()).unwrap();
        assert_eq!(one[0].timestamp.to_string(), "2026-11-23T12:00:00.123Z");
        assert_eq!(one[0].properties["n"], json!(1));
        let two = json!({"events": [{"type": "a"}, {"type": "b", "timestamp": "2026-11-22T12:00:00Z"}]});
        assert_eq!(read(&two, window()).unwrap().len(), 2);
    }

    #[test]
    fn each_wrong_event_is_named() {
        let said = mistakes(&json!({"events": [
            {"type": "fine"},
            {"type": ""},
            {"type": "a", "timestamp": "2026-11-24T12:00:01Z"},
            {"type": "a", "timestamp": "2026-11-21T11:59:59Z"},
            {"type": "a", "user_id": "x".repeat(201), "properties": {"": 1}},
            {"type": "a", "properties": {"deep": [{"text": "\u{0}"}]}},
            {"type": "a", "properties": {"n": 1e301}},
            {"type": "a", "properties": {"text": "x".repeat(EVENT)}},
        ]}));
        for pointer in [
            "#/events/1/type",
            "#/events/2/timestamp",
            "#/events/3/timestamp",
            "#/events/4/user_id",
            "#/events/4/properties",
            "#/events/5/properties",
            "#/events/6/properties",
            "\"#/events/7\"",
        ] {
            assert!(said.contains(pointer), "{pointer} in {said}");
        }
        assert!(!said.contains("#/events/0"), "{said}");
    }

    #[test]
    fn refuses_what_it_does_not_know_and_too_much() {
        assert!(mistakes(&json!({"events": [{"type": "a"}, {"kind": "b"}]})).contains("#/events/1/kind"));
        assert!(mistakes(&json!({"events": [], "type": "a"})).contains("#/type"));
        assert!(mistakes(&json!({"events": []})).contains("1 to 1000"));
        assert!(mistakes(&json!({"events": vec![json!({"type": "a"}); 1_001]})).contains("found 1001"));
        let many: Map<String, Value> = (0..65).map(|i| (format!("p{i}"), json!(i))).collect();
        assert!(mistakes(&json!({"type": "a", "properties": many})).contains("at most 64"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_taken_or_refused(
            kind in ".{0,120}",
            user in proptest::option::of(".{0,210}"),
            // In hundredths: reading a number of more than 15 digits may change its last one.
            hundredths in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
        ) {
            let n = hundredths as f64 / 100.0;
            let body = json!({"type": kind, "user_id": user, "properties": {"n": n}});
            if let Ok(events) = read(&body, window()) {
                let again = read(&serde_json::to_value(&events[0]).unwrap(), window()).unwrap();
                prop_assert_eq!(again, events, "what was settled is settled");
            }
        }
    }
}
