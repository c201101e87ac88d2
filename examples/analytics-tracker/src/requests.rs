//! Requests for the other plugins of the application, as events: what the middleware `requests` is
//! asked about. No request waits for the storage: events wait in a queue, and what has no place there is
//! not kept.

use std::{sync::Arc, time::Duration};

use forward_sdk::{
    Error, Problem,
    middleware::{Middleware, Outcome, Phase, Question},
    tracing,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    config::Settings,
    event::Event,
    intake::{self, Window},
    metrics::Metrics,
    plugin::AnalyticsTracker,
    sampling::is_sampled,
    storage::{Storage, within},
};

/// How many events wait for the storage, and how many it is given at once.
const WAITING: usize = 4_096;
const BATCH: usize = 256;
/// How long it is given for them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The middleware, where the configuration wants it.
pub fn middleware(settings: &Settings) -> Middleware<AnalyticsTracker> {
    match settings.track_requests {
        true => Middleware::new().request("requests", Phase::Observe, see).for_all().fail_open(),
        false => Middleware::new(),
    }
}

async fn see(tracker: Arc<AnalyticsTracker>, request: Question) -> Result<Outcome, Error> {
    let event = event(request.plugin(), request.route(), request.method());
    if tracker.requests.try_send(event).is_err() {
        tracker.metrics.count_events("dropped", 1);
    }
    Ok(Outcome::next())
}

fn event(plugin: &str, route: &str, method: &str) -> Value {
    json!({"type": "request", "properties": {"plugin": plugin, "route": route, "method": method}})
}

fn read(batch: Vec<Value>, settings: &Settings) -> Result<Vec<Event>, Problem> {
    let window = Window { now: Timestamp::now(), retention: settings.retention };
    intake::read(&json!({"events": batch}), window)
}

/// Keeps events for as long as the process lives. What the storage does not take is counted and gone.
pub fn keep(storage: Arc<dyn Storage>, settings: Settings, metrics: Metrics) -> mpsc::Sender<Value> {
    let (sender, mut waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            let mut events = match read(std::mem::take(&mut batch), &settings) {
                Ok(events) => events,
                Err(problem) => {
                    tracing::warn!(?problem, "requests cannot be kept as events");
                    continue;
                }
            };
            let seen = events.len();
            events.retain(|event| is_sampled(event, settings.sample_rate, Uuid::new_v4()));
            metrics.count_events("sampled_out", seen - events.len());
            match within(PATIENCE, storage.append(events)).await {
                Ok(appended) => metrics.count_events("accepted", appended.accepted),
                Err(error) => {
                    metrics.storage_errors.inc();
                    tracing::debug!(error = &error as &dyn std::error::Error, "requests are not kept");
                }
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn requests_are_events_that_are_taken() {
        let settings = Settings::try_from(Config::default()).unwrap();
        let events = read(vec![event("pay", "/pay/:id", "GET"), event("", "", "")], &settings).unwrap();
        assert_eq!((events.len(), events[0].kind.as_str()), (2, "request"));
        assert_eq!(events[0].properties["route"], "/pay/:id");
    }
}
