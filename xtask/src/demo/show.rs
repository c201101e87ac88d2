//! One line for each change of a plugin's state, until all are ready.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{exec, exec::await_some, release::Target};

/// A database comes up on the way, and images may have to be pulled.
const BOUND: Duration = Duration::from_secs(300);

/// A plugin at one moment: its state and why it is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    state: String,
    ready: bool,
    reason: String,
}

impl Seen {
    /// Why it is not ready changes often on its way; where it is tells enough.
    fn is_news_after(&self, before: &Self) -> bool {
        (&self.state, self.ready) != (&before.state, before.ready)
    }
}

/// Shows changes until this many plugins are ready.
pub fn await_ready(target: &Target, plugins: usize) -> Result<()> {
    println!("\nplugins on their way up:");
    let started = Instant::now();
    let mut shown: BTreeMap<String, Seen> = BTreeMap::new();
    await_some("all plugins to be ready", BOUND, || {
        let seen = plugins_now(target)?;
        for (name, now) in &seen {
            if shown.get(name).is_none_or(|before| now.is_news_after(before)) {
                println!("{}", line(started.elapsed(), name, now));
            }
        }
        let ready = seen.len() >= plugins && seen.values().all(|plugin| plugin.ready);
        shown = seen;
        Ok(ready.then_some(()))
    })
}

fn line(after: Duration, name: &str, seen: &Seen) -> String {
    let ready = if seen.ready { "ready" } else { "" };
    let text = format!("{:6.1} s  {name:<20} {:<12} {ready}{}", after.as_secs_f64(), seen.state, seen.reason);
    text.trim_end().to_owned()
}

fn plugins_now(target: &Target) -> Result<BTreeMap<String, Seen>> {
    let json = exec::output(target.kubectl().args(["get", "plugins", "--output=json"]))?;
    let list: Value = serde_json::from_str(&json).context("read what kubectl says")?;
    let items = list["items"].as_array().context("a list")?;
    Ok(items.iter().map(|plugin| (text(&plugin["metadata"]["name"]), seen(plugin))).collect())
}

fn seen(plugin: &Value) -> Seen {
    let status = &plugin["status"];
    let conditions = status["conditions"].as_array();
    let summary = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let current = status["observedGeneration"] == plugin["metadata"]["generation"];
    let ready = current && summary.is_some_and(|summary| summary["status"] == "True");
    let reason = summary.filter(|_| !ready).map(|summary| text(&summary["message"])).unwrap_or_default();
    Seen { state: text(&status["state"]), ready, reason }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin(observed: u32, ready: &str) -> Value {
        json!({
            "metadata": {"name": "hello", "generation": 2},
            "status": {
                "state": "Loaded",
                "observedGeneration": observed,
                "conditions": [{"type": "Ready", "status": ready, "message": "waits for relay"}],
            },
        })
    }

    #[test]
    fn believes_no_readiness_of_an_older_generation() {
        assert!(seen(&plugin(2, "True")).ready);
        assert!(!seen(&plugin(1, "True")).ready);
    }

    #[test]
    fn says_why_a_plugin_is_not_ready() {
        let now = seen(&plugin(2, "False"));
        assert_eq!(
            line(Duration::from_millis(1500), "hello", &now),
            "   1.5 s  hello                Loaded       waits for relay"
        );
        assert_eq!(line(Duration::ZERO, "x", &seen(&json!({}))), "   0.0 s  x                    -");
    }
}
