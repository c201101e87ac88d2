//! The plugin's process, and the servers that it keeps events in.

use std::{
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use example_testing::{Answer, Postgres, Process, Redis};
use forward_proto::plugin::v1::{
    HealthRequest, HealthResponse, health_response::Status, plugin_client::PluginClient,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const PROGRAM: &str = env!("CARGO_BIN_EXE_analytics-tracker");

/// How long anything may take.
const BOUND: Duration = Duration::from_secs(30);

/// The server that all tests share, which ends with the last of them.
static POSTGRES: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
static REDIS: Mutex<Weak<Redis>> = Mutex::new(Weak::new());

pub struct Tracker(pub Process);

pub fn shared_postgres() -> Arc<Postgres> {
    share(&POSTGRES, Postgres::start)
}

pub fn shared_redis() -> Arc<Redis> {
    share(&REDIS, Redis::start)
}

fn share<T>(place: &Mutex<Weak<T>>, start: impl FnOnce() -> T) -> Arc<T> {
    let mut place = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    place.upgrade().unwrap_or_else(|| {
        let started = Arc::new(start());
        *place = Arc::downgrade(&started);
        started
    })
}

pub fn postgres_config(url: &str) -> Value {
    json!({"storage_type": "postgres", "database_url": url})
}

pub fn redis_config(url: &str) -> Value {
    json!({"storage_type": "redis", "redis_url": url})
}

pub fn failure(config: &Value) -> String {
    Process::failure(PROGRAM, "analytics-tracker", config, &[])
}

/// Waits until something holds, and says what when it does not.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < BOUND, "waited {BOUND:?} until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Tracker {
    pub fn start(config: &Value) -> Self {
        Self(Process::start(PROGRAM, "analytics-tracker", config, &[]))
    }

    /// Starts it on a port.
    pub fn start_on(config: &Value, port: &str) -> Self {
        Self(Process::start(PROGRAM, "analytics-tracker", config, &[("GOFORWARD_PORT", port)]))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.0.request("POST", path, &[], &body.to_string())
    }

    /// Tracks what must be taken; how many were accepted, sampled out, duplicates.
    pub fn track(&self, body: &Value) -> [u64; 3] {
        let answer = self.post("/api/analytics/track", body);
        assert_eq!(answer.status, 202, "{answer:?}");
        let answer = answer.json();
        ["accepted", "sampled_out", "duplicates"].map(|name| answer[name].as_u64().unwrap())
    }

    pub fn query(&self, question: &Value) -> Value {
        let answer = self.post("/api/analytics/query", question);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// How many events there are.
    pub fn count(&self) -> u64 {
        self.query(&json!({}))["scanned"].as_u64().unwrap()
    }

    /// What it tells the gateway of its health, and whether that is good.
    pub fn health(&self) -> (bool, HealthResponse) {
        let url = format!("http://{}", self.0.address);
        let health = Runtime::new().unwrap().block_on(async {
            let mut client = PluginClient::connect(url).await.unwrap();
            client.health(HealthRequest {}).await.unwrap().into_inner()
        });
        (health.status() == Status::Healthy, health)
    }

    /// The value of a metric's line.
    pub fn metric(&self, line: &str) -> Option<String> {
        let text = self.0.get("/metrics").body;
        text.lines().find_map(|found| found.strip_prefix(line)).map(|value| value.trim().to_owned())
    }
}
