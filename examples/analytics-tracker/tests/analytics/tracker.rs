//! The plugin's process, and the servers that it keeps events in.

use std::ops::Deref;

use example_testing::{Answer, Process};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_analytics-tracker");

/// The plugin's process, asked in its own words.
pub struct Tracker(pub Process);

pub fn postgres_config(url: &str) -> Value {
    json!({"storage_type": "postgres", "database_url": url})
}

pub fn redis_config(url: &str) -> Value {
    json!({"storage_type": "redis", "redis_url": url})
}

pub fn failure(config: &Value) -> String {
    Process::failure(PROGRAM, "analytics-tracker", config, &[])
}

impl Deref for Tracker {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
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
}
