//! What one receiver is still to be told. Of each alert the newest state is kept until the receiver
//! has it, however long that does not answer; only how many alerts are kept has a bound.
//!
//! An Alertmanager is told of each alert at once and again and again, as it forgets those that it hears
//! nothing of. A webhook is told of groups, when it is their time.

use std::collections::{BTreeMap, BTreeSet};

use forward_crds::{AlertLabel, Webhook};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Alert, Key};

/// How many alerts are kept for a receiver.
pub const MOST: usize = 1000;
/// How many alerts an Alertmanager is told of at once.
const BATCH: usize = 256;
/// How often an Alertmanager is told again of what goes on.
const RESEND: SignedDuration = SignedDuration::from_secs(60);
/// How long after it was told of an alert it is to take it for over, unless it is told again.
const EXPIRY: SignedDuration = SignedDuration::from_secs(4 * 60);

/// When a receiver is told what.
#[derive(Clone, Debug, PartialEq)]
pub enum Terms {
    /// It is an Alertmanager.
    Alertmanager,
    /// It is a webhook.
    Grouped {
        /// The labels by which alerts are told together.
        by: BTreeSet<AlertLabel>,
        /// How long others are waited for.
        wait: SignedDuration,
        /// How long after a group was told it is told changes.
        interval: SignedDuration,
        /// How long after a group was told it is told the same again.
        repeat: SignedDuration,
        /// Whether it is told what is over.
        resolved: bool,
    },
}

/// What is kept for a receiver.
#[derive(Clone, Debug)]
pub struct Outbox {
    terms: Terms,
    most: usize,
    alerts: BTreeMap<Key, Entry>,
    /// By the values of the labels that make a group.
    groups: BTreeMap<Vec<String>, Group>,
    /// Alerts for which there was no room.
    refused: BTreeSet<Key>,
}

#[derive(Clone, Debug)]
struct Entry {
    alert: Alert,
    /// When it was over.
    ended: Option<Timestamp>,
    told: Option<Told>,
    /// Whether it was tried to tell this, in vain.
    tried: bool,
}

/// What the receiver has of an alert.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Timestamp,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    begun: Timestamp,
    told: Option<Timestamp>,
}

/// What a receiver is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The labels that all have in common because they are told together, by name.
    pub group: BTreeMap<&'static str, String>,
    /// The alerts.
    pub alerts: Vec<Notice>,
}

/// An alert, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The alert.
    pub alert: Alert,
    /// Whether it is over.
    pub ended: bool,
    /// When it was over, or is to be taken for over without further news.
    pub ends: Option<Timestamp>,
}

impl Terms {
    /// Those of a webhook.
    pub fn of_webhook(webhook: &Webhook) -> Self {
        let Webhook { url: _, group_by, group_wait, group_interval, repeat_interval, send_resolved } =
            webhook;
        let span = |value: &Option<forward_crds::Duration>, default: u64| {
            let value = value.unwrap_or(forward_crds::Duration::from_secs(default)).get();
            SignedDuration::try_from(value).unwrap_or(SignedDuration::MAX)
        };
        let by = match group_by.is_empty() {
            true => [AlertLabel::Alertname, AlertLabel::Namespace].into(),
            false => group_by.iter().copied().collect(),
        };
        Self::Grouped {
            by,
            wait: span(group_wait, 30),
            interval: span(group_interval, 5 * 60),
            repeat: span(repeat_interval, 4 * 60 * 60),
            resolved: send_resolved.unwrap_or(true),
        }
    }

    fn tells_ends(&self) -> bool {
        match self {
            Self::Alertmanager => true,
            Self::Grouped { resolved, .. } => *resolved,
        }
    }
}

impl Entry {
    /// Whether the receiver has something else than what is so.
    fn is_news(&self) -> bool {
        self.told.is_none_or(|told| told.ended != self.ended.is_some())
    }

    fn notice(&self, ends: Option<Timestamp>) -> Notice {
        Notice { alert: self.alert.clone(), ended: self.ended.is_some(), ends: self.ended.or(ends) }
    }
}

impl Outbox {
    /// For a receiver that has been told nothing, with room for so many alerts.
    pub fn new(terms: Terms, most: usize) -> Self {
        let (alerts, groups) = (BTreeMap::new(), BTreeMap::new());
        Self { terms, most, alerts, groups, refused: BTreeSet::new() }
    }

    /// Take in what is wrong now. How many alerts there was no room for that were not so before.
    pub fn observe(&mut self, firing: &BTreeMap<Key, Alert>, now: Timestamp) -> usize {
        let tells_ends = self.terms.tells_ends();
        self.alerts.retain(|key, entry| {
            if entry.ended.is_none() && !firing.contains_key(key) {
                entry.ended = Some(now);
                // What was over before it was due was nothing, and what the receiver does not want to
                // hear is kept from it.
                return tells_ends && (entry.told.is_some() || entry.tried);
            }
            true
        });
        let mut refused = BTreeSet::new();
        for (key, alert) in firing {
            if let Some(entry) = self.alerts.get_mut(key) {
                // Who has not heard that it was over has nothing else to hear.
                entry.ended = None;
                entry.alert = alert.clone();
            } else if self.alerts.len() < self.most {
                let entry = Entry { alert: alert.clone(), ended: None, told: None, tried: false };
                self.alerts.insert(key.clone(), entry);
            } else {
                refused.insert(key.clone());
            }
        }
        let dropped = refused.difference(&self.refused).count();
        self.refused = refused;
        self.regroup(now);
        dropped
    }

    /// What is to be told now, if anything.
    pub fn due(&self, now: Timestamp) -> Option<Message> {
        match &self.terms {
            Terms::Alertmanager => {
                let resend = |told: Told| is_old(told.at, RESEND, now);
                let due = self.alerts.values().filter(|entry| {
                    entry.is_news() || (entry.ended.is_none() && entry.told.is_some_and(resend))
                });
                let ends = later(now, EXPIRY);
                let alerts = due.take(BATCH).map(|entry| entry.notice(Some(ends))).collect::<Vec<_>>();
                (!alerts.is_empty()).then(|| Message { group: BTreeMap::new(), alerts })
            }
            Terms::Grouped { by, wait, interval, repeat, .. } => {
                let mut members = BTreeMap::<_, Vec<_>>::new();
                for (key, entry) in &self.alerts {
                    members.entry(group_of(by, key)).or_default().push(entry);
                }
                let is_due = |(name, group): &(&Vec<String>, &Group)| {
                    let members = members.get(*name).map_or(&[][..], Vec::as_slice);
                    let news = members.iter().any(|entry| entry.is_news());
                    let goes_on = members.iter().any(|entry| entry.ended.is_none());
                    match group.told {
                        None => is_old(group.begun, *wait, now),
                        Some(told) if news => is_old(told, *interval, now),
                        Some(told) => goes_on && is_old(told, *repeat, now),
                    }
                };
                let (name, _) = self.groups.iter().find(is_due)?;
                let labels = by.iter().map(|label| label.as_str()).zip(name.iter().cloned());
                let alerts = members.get(name)?.iter().map(|entry| entry.notice(None)).collect();
                Some(Message { group: labels.collect(), alerts })
            }
        }
    }

    /// A message has arrived.
    pub fn sent(&mut self, message: &Message, now: Timestamp) {
        for Notice { alert, ended, .. } in &message.alerts {
            let Some(entry) = self.alerts.get_mut(&alert.key) else { continue };
            if *ended && entry.ended.is_some() {
                self.alerts.remove(&alert.key);
            } else {
                entry.told = Some(Told { at: now, ended: *ended });
                entry.tried = false;
            }
        }
        if let Terms::Grouped { by, .. } = &self.terms {
            let name = by.iter().map(|label| message.group.get(label.as_str()).cloned());
            let name = name.map(Option::unwrap_or_default).collect::<Vec<_>>();
            if let Some(group) = self.groups.get_mut(&name) {
                group.told = Some(now);
            }
        }
        self.regroup(now);
    }

    /// A message has not arrived: what it says is still to be told.
    pub fn failed(&mut self, message: &Message) {
        for Notice { alert, .. } in &message.alerts {
            if let Some(entry) = self.alerts.get_mut(&alert.key) {
                entry.tried = true;
            }
        }
    }

    /// How many alerts the receiver has something else of than what is so.
    pub fn waiting(&self) -> usize {
        self.alerts.values().filter(|entry| entry.is_news()).count()
    }

    /// Begin groups that have got their first alert, and forget those that have none any more.
    fn regroup(&mut self, now: Timestamp) {
        let Terms::Grouped { by, .. } = &self.terms else { return };
        let names = self.alerts.keys().map(|key| group_of(by, key)).collect::<BTreeSet<_>>();
        self.groups.retain(|name, _| names.contains(name));
        for name in names {
            self.groups.entry(name).or_insert(Group { begun: now, told: None });
        }
    }
}

fn group_of(by: &BTreeSet<AlertLabel>, key: &Key) -> Vec<String> {
    by.iter().map(|label| key.label(*label).to_owned()).collect()
}

fn is_old(since: Timestamp, span: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(since) >= span
}

fn later(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
