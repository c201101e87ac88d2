//! What is to be told of plugins that are not as they should be: which alerts their status raises, and
//! when each receiver is told what.
//!
//! Alerts follow from objects alone, so that whoever is asked to tell them finds the same ones, also
//! after it was started anew.

pub mod outbox;
pub mod payload;

use std::collections::BTreeMap;

use forward_crds::{AlertLabel, AlertName, Condition, Plugin, PluginState};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::ConditionReason;

/// The most characters of a description.
const MAX_TEXT: usize = 1024;

/// What tells one alert from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The plugin's namespace.
    pub namespace: String,
    /// Its name.
    pub plugin: String,
    /// What is wrong with it.
    pub name: AlertName,
}

/// Something that is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which.
    pub key: Key,
    /// Since when.
    pub since: Timestamp,
    /// What there is to say of it.
    pub description: String,
}

impl Key {
    /// The value of a label.
    pub fn label(&self, label: AlertLabel) -> &str {
        match label {
            AlertLabel::Alertname => self.name.as_str(),
            AlertLabel::Namespace => &self.namespace,
            AlertLabel::Plugin => &self.plugin,
            AlertLabel::Severity => severity(self.name),
        }
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<&'static str, &str> {
        let all = [AlertLabel::Alertname, AlertLabel::Namespace, AlertLabel::Plugin, AlertLabel::Severity];
        all.into_iter().map(|label| (label.as_str(), self.label(label))).collect()
    }
}

impl Alert {
    /// What is said of it besides the labels.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let Key { namespace, plugin, name } = &self.key;
        let what = match name {
            AlertName::PluginUnhealthy => "is unhealthy: its requests get 503",
            AlertName::PluginError => "failed to come up, or to stay up",
            AlertName::PluginStalled => "does not come any further",
            AlertName::PluginWithoutPods => "has no ready pod any more",
            AlertName::PluginPodsUnhealthy => "has pods that are unhealthy and get no requests",
            AlertName::PluginUnanswered => "has pods that cannot be asked how they fare",
            AlertName::PluginDegraded => "has lost a plugin that it needs or uses",
        };
        [("summary", format!("{namespace}/{plugin} {what}")), ("description", self.description.clone())]
            .into()
    }

    /// Whether it has been so for long enough.
    pub fn is_due(&self, hold: SignedDuration, now: Timestamp) -> bool {
        now.duration_since(self.since) >= hold
    }
}

fn severity(name: AlertName) -> &'static str {
    match name {
        AlertName::PluginUnhealthy
        | AlertName::PluginError
        | AlertName::PluginStalled
        | AlertName::PluginWithoutPods => "critical",
        AlertName::PluginPodsUnhealthy | AlertName::PluginUnanswered | AlertName::PluginDegraded => "warning",
    }
}

/// What is to be told of what is wrong with plugins: what has been so for long enough, and what was told
/// of before and is so still. Since when it is so may become later meanwhile, as of pods that are
/// unhealthy in turns; it is the same alert, and keeps its time.
pub fn firing(
    raised: &[Alert],
    hold: SignedDuration,
    now: Timestamp,
    before: &BTreeMap<Key, Alert>,
) -> BTreeMap<Key, Alert> {
    let firing = raised.iter().filter_map(|alert| {
        let since = match before.get(&alert.key) {
            Some(before) => before.since.min(alert.since),
            None => Some(alert.since).filter(|_| alert.is_due(hold, now))?,
        };
        Some((alert.key.clone(), Alert { since, ..alert.clone() }))
    });
    firing.collect()
}

/// What is wrong with a plugin, by what its status says.
pub fn raised(plugin: &Plugin) -> Vec<Alert> {
    let (Some(status), metadata) = (&plugin.status, &plugin.metadata) else { return Vec::new() };
    let condition =
        |type_: &str, wanted: &str| status.condition(type_).filter(|condition| condition.status == wanted);
    let alert = |name: AlertName, since: Timestamp, description: &str| Alert {
        key: Key {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            plugin: metadata.name.clone().unwrap_or_default(),
            name,
        },
        since,
        description: description.chars().take(MAX_TEXT).collect(),
    };
    let by = |name: AlertName, condition: &Condition| {
        alert(name, condition.last_transition_time.0, &condition.message)
    };
    let mut alerts = Vec::new();
    if let Some(unhealthy) = condition("Healthy", "False") {
        alerts.push(by(AlertName::PluginUnhealthy, unhealthy));
    } else if let Some(first) = status
        .health
        .as_ref()
        .and_then(|health| health.unhealthy_pods.iter().min_by_key(|pod| (pod.since.0, &pod.pod)))
    {
        let pods = status.health.as_ref().map_or(&[][..], |health| &health.unhealthy_pods);
        let names = pods.iter().map(|pod| pod.pod.as_str()).collect::<Vec<_>>().join(", ");
        let description = format!("{names}; {}: {}", first.pod, first.message);
        alerts.push(alert(AlertName::PluginPodsUnhealthy, first.since.0, &description));
    }
    let ready = status.condition("Ready");
    if let Some(unknown) = condition("Healthy", "Unknown") {
        let is = |reason: ConditionReason| unknown.reason == reason.as_str();
        if is(ConditionReason::Unanswered) {
            alerts.push(by(AlertName::PluginUnanswered, unknown));
        } else if is(ConditionReason::NoReadyEndpoints) && condition("Ready", "True").is_none() {
            // While it is meant to be stopped it has no pods either, and is ready.
            let is_meant = ready.map(|ready| ready.last_transition_time.0);
            let since = unknown.last_transition_time.0.max(is_meant.unwrap_or(Timestamp::MIN));
            alerts.push(alert(AlertName::PluginWithoutPods, since, &unknown.message));
        }
    }
    if let (Some(PluginState::Error), Some(since)) = (status.state, &status.state_time) {
        alerts.push(alert(AlertName::PluginError, since.0, ready.map_or("", |ready| &ready.message)));
    }
    alerts.extend(condition("Stalled", "True").map(|stalled| by(AlertName::PluginStalled, stalled)));
    alerts.extend(condition("Degraded", "True").map(|degraded| by(AlertName::PluginDegraded, degraded)));
    alerts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(status: &Value) -> Plugin {
        serde_json::from_value(json!({
            "apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"namespace": "shop", "name": "pay"},
            "spec": {"version": "1.0.0", "image": "x"}, "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": reason, "message": format!("about {type_}"),
            "lastTransitionTime": "2026-01-01T00:00:10Z",
        })
    }

    fn told(status: &Value) -> Vec<(&'static str, String)> {
        let told = |alert: Alert| (alert.key.name.as_str(), alert.description);
        raised(&plugin(status)).into_iter().map(told).collect()
    }

    #[test]
    fn raises_what_the_status_says() {
        let pods = json!([
            {"pod": "b", "reason": "Unhealthy", "message": "no database", "since": "2026-01-01T00:00:05Z"},
            {"pod": "a", "reason": "Unanswered", "since": "2026-01-01T00:00:07Z"},
        ]);
        let health = |status: &str| json!({"status": status, "timestamp": "2026-01-01T00:00:00Z", "unhealthyPods": pods});
        let about = |name: &'static str, type_: &str| (name, format!("about {type_}"));
        let some = ("PluginPodsUnhealthy", "b, a; b: no database".to_owned());
        for (status, expected) in [
            (json!({}), vec![]),
            (
                json!({"conditions": [condition("Healthy", "True", "Healthy"), condition("Ready", "True", "Ready")]}),
                vec![],
            ),
            (
                json!({"conditions": [condition("Healthy", "False", "Unhealthy")], "health": health("Unhealthy")}),
                vec![about("PluginUnhealthy", "Healthy")],
            ),
            (
                json!({"conditions": [condition("Healthy", "True", "Healthy")], "health": health("Healthy")}),
                vec![some.clone()],
            ),
            (
                json!({"conditions": [condition("Healthy", "Unknown", "Unanswered")], "health": health("Unknown")}),
                vec![some, about("PluginUnanswered", "Healthy")],
            ),
            (
                json!({"conditions": [condition("Healthy", "Unknown", "NoReadyEndpoints"), condition("Ready", "False", "x")]}),
                vec![about("PluginWithoutPods", "Healthy")],
            ),
            // It is stopped, as it should be.
            (
                json!({"conditions": [condition("Healthy", "Unknown", "NoReadyEndpoints"), condition("Ready", "True", "x")]}),
                vec![],
            ),
            (
                json!({"state": "Error", "stateTime": "2026-01-01T00:00:00Z", "conditions": [
                    condition("Ready", "False", "x"), condition("Stalled", "True", "x"), condition("Degraded", "True", "x")]}),
                vec![
                    about("PluginError", "Ready"),
                    about("PluginStalled", "Stalled"),
                    about("PluginDegraded", "Degraded"),
                ],
            ),
            (
                json!({"conditions": [condition("Stalled", "False", "x"), condition("Degraded", "False", "x")]}),
                vec![],
            ),
        ] {
            assert_eq!(told(&status), expected, "{status}");
        }
    }

    #[test]
    fn counts_pods_that_are_missing_from_when_they_should_be_there() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let since = |ready: Option<&str>| {
            let ready = ready.map(|time| {
                let mut ready = condition("Ready", "False", "x");
                ready["lastTransitionTime"] = json!(time);
                ready
            });
            let healthy = Some(condition("Healthy", "Unknown", "NoReadyEndpoints"));
            let conditions = healthy.into_iter().chain(ready).collect::<Vec<_>>();
            let alert = raised(&plugin(&json!({"conditions": conditions}))).remove(0);
            assert_eq!(alert.key.name, AlertName::PluginWithoutPods);
            alert.since
        };
        let lost = at("2026-01-01T00:00:10Z");
        assert_eq!(since(Some("2026-01-03T00:00:00Z")), at("2026-01-03T00:00:00Z"), "it was resumed then");
        assert_eq!(since(Some("2026-01-01T00:00:08Z")), lost);
        assert_eq!(since(None), lost);
    }

    #[test]
    fn goes_on_while_pods_are_unhealthy_in_turns() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let hold = SignedDuration::from_secs(60);
        let pods = |since: &[i64]| {
            let pod = |since: &i64| json!({"pod": format!("p{since}"), "reason": "Unhealthy", "since": at(*since).to_string()});
            let pods = since.iter().map(pod).collect::<Vec<_>>();
            raised(&plugin(
                &json!({"health": {"status": "Healthy", "timestamp": at(0).to_string(), "unhealthyPods": pods}}),
            ))
        };
        let mut before = BTreeMap::new();
        let mut since = Vec::new();
        for (now, unhealthy) in
            [(59, &[0, 50][..]), (60, &[0, 50]), (70, &[50]), (110, &[50, 100]), (111, &[]), (112, &[100])]
        {
            before = firing(&pods(unhealthy), hold, at(now), &before);
            since.push(before.values().next().map(|alert| alert.since));
        }
        assert_eq!(since, [None, Some(at(0)), Some(at(0)), Some(at(0)), None, None]);
    }

    #[test]
    fn counts_from_when_it_became_so() {
        let status = json!({"conditions": [condition("Healthy", "False", "Unhealthy")]});
        let alert = raised(&plugin(&status)).remove(0);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hold = SignedDuration::from_secs(60);
        assert!(!alert.is_due(hold, at("2026-01-01T00:01:09Z")));
        assert!(alert.is_due(hold, at("2026-01-01T00:01:10Z")));
        let labels = json!({"alertname": "PluginUnhealthy", "namespace": "shop", "plugin": "pay", "severity": "critical"});
        assert_eq!(json!(alert.key.labels()), labels);
    }
}
