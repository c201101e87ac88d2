//! The handlers: from requests to the storage and back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forward_sdk::{
    FieldError, Json, Problem,
    axum::{
        extract::{Query, State},
        http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
        response::{IntoResponse, Response, Sse},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    intake::{self, Window},
    live::{Listening, Options, listen},
    plugin::{AnalyticsTracker, STREAMS},
    query::{Answer, Request},
    sampling::is_sampled,
    storage::{Appended, StorageError, horizon, within},
};

/// How long a request waits for the storage.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keeps proxies from collecting events before they pass them on.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

type Tracker = State<Arc<AnalyticsTracker>>;

/// What became of the events of a request.
#[derive(Debug, Serialize)]
pub struct Tracked {
    accepted: usize,
    sampled_out: usize,
    duplicates: usize,
}

pub async fn track(
    State(tracker): Tracker,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Tracked>), Problem> {
    let AnalyticsTracker { settings, storage, metrics, .. } = tracker.as_ref();
    let window = Window { now: Timestamp::now(), retention: settings.retention };
    let mut events = intake::read(&body, window)?;
    let sent = events.len();
    events.retain(|event| is_sampled(event, settings.sample_rate, Uuid::new_v4()));
    let sampled_out = sent - events.len();
    let begin = Instant::now();
    let appended = match events.is_empty() {
        true => Appended::default(),
        false => within(PATIENCE, storage.append(events)).await.map_err(|error| tracker.fail(error))?,
    };
    metrics.append_seconds.observe(begin.elapsed().as_secs_f64());
    metrics.count_events("accepted", appended.accepted);
    metrics.count_events("duplicate", appended.duplicates);
    metrics.count_events("sampled_out", sampled_out);
    let tracked = Tracked { accepted: appended.accepted, sampled_out, duplicates: appended.duplicates };
    Ok((StatusCode::ACCEPTED, Json(tracked)))
}

pub async fn query(State(tracker): Tracker, Json(request): Json<Request>) -> Result<Json<Answer>, Problem> {
    let query = request.check(horizon(Timestamp::now(), tracker.settings.retention))?;
    let begin = Instant::now();
    let answer =
        within(PATIENCE, tracker.storage.query(&query)).await.map_err(|error| tracker.fail(error))?;
    tracker.metrics.query_seconds.observe(begin.elapsed().as_secs_f64());
    Ok(Json(answer))
}

pub async fn realtime(
    State(tracker): Tracker,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    if !tracker.settings.realtime {
        let detail = "events cannot be followed live: enable_realtime is off";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail).code("realtime_disabled"));
    }
    let options = read_options(&headers, parameters)?;
    let place = tracker.places.clone().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS} streams are open already"))
            .code("too_many_streams")
            .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    })?;
    let listening = Listening {
        storage: tracker.storage.clone(),
        feed: tracker.feed.clone(),
        metrics: tracker.metrics.clone(),
        closing: tracker.closing.clone(),
        place,
    };
    let stream = listen(listening, options).await.map_err(|error| tracker.fail(error))?;
    Ok(([UNBUFFERED], Sse::new(stream)).into_response())
}

/// `?type=a&type=b&last_event_id=7`; the header is what browsers send when they come back.
fn read_options(headers: &HeaderMap, parameters: Vec<(String, String)>) -> Result<Options, Problem> {
    let mut seen = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").to_owned());
    let mut types = std::collections::BTreeSet::new();
    for (name, value) in parameters {
        match name.as_str() {
            "type" => drop(types.insert(value)),
            "last_event_id" => drop(seen.get_or_insert(value)),
            _ => {
                let detail = format!("{name:?} is not one of type, last_event_id");
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
            }
        }
    }
    let seen = seen.filter(|seen| !seen.is_empty()).map(|seen| {
        let detail = "must be the id of an event of this stream: a whole number";
        seen.parse().map_err(|_| Problem::invalid([FieldError::new("last_event_id", detail)]))
    });
    Ok(Options { seen: seen.transpose()?, types })
}

impl AnalyticsTracker {
    fn fail(&self, error: StorageError) -> Problem {
        self.metrics.storage_errors.inc();
        error.into()
    }
}
