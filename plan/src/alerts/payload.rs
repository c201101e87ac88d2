//! Messages as receivers read them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Key,
    outbox::{Message, Notice},
};

/// What is posted to `/api/v2/alerts` of an Alertmanager.
pub fn alertmanager(message: &Message) -> Value {
    let alerts = message.alerts.iter().map(|Notice { alert, ended: _, ends }| {
        let mut body = json!({
            "labels": alert.key.labels(),
            "annotations": alert.annotations(),
            "startsAt": alert.since.to_string(),
        });
        if let Some(ends) = ends {
            body["endsAt"] = json!(ends.to_string());
        }
        body
    });
    alerts.collect()
}

/// What is posted to a webhook: Alertmanager's payload in version 4.
pub fn webhook(receiver: &str, message: &Message) -> Value {
    let alerts = message.alerts.iter().map(|Notice { alert, ended, ends }| {
        json!({
            "status": status(*ended),
            "labels": alert.key.labels(),
            "annotations": alert.annotations(),
            "startsAt": alert.since.to_string(),
            // Alertmanager's word for one that goes on.
            "endsAt": ends.map_or("0001-01-01T00:00:00Z".to_owned(), |ends| ends.to_string()),
            "generatorURL": "",
            "fingerprint": fingerprint(&alert.key),
        })
    });
    let labels = message.alerts.iter().map(|it| owned(it.alert.key.labels()));
    let annotations = message.alerts.iter().map(|it| it.alert.annotations());
    json!({
        "version": "4",
        "groupKey": group_key(&message.group),
        "truncatedAlerts": message.left,
        "status": status(message.alerts.iter().all(|it| it.ended)),
        "receiver": receiver,
        "groupLabels": message.group,
        "commonLabels": common(labels),
        "commonAnnotations": common(annotations),
        "externalURL": "",
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

fn status(ended: bool) -> &'static str {
    if ended { "resolved" } else { "firing" }
}

/// As Alertmanager writes it: the route, which is always the first here, and the group's labels.
fn group_key(group: &BTreeMap<&'static str, String>) -> String {
    let labels = group.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>();
    format!("{{}}:{{{}}}", labels.join(", "))
}

fn owned(labels: BTreeMap<&'static str, &str>) -> BTreeMap<&'static str, String> {
    labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// What is the same in all.
fn common(mut all: impl Iterator<Item = BTreeMap<&'static str, String>>) -> BTreeMap<&'static str, String> {
    let mut common = all.next().unwrap_or_default();
    for other in all {
        common.retain(|name, value| other.get(name) == Some(value));
    }
    common
}

/// The same number by which Alertmanager knows the alert: FNV-1a over its labels in order.
fn fingerprint(key: &Key) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, value) in key.labels() {
        take(name);
        take(value);
    }
    format!("{hash:016x}")
}
