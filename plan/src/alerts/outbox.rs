//! What one receiver is still to be told. Of each alert the newest state is kept until the receiver
//! has it, however long that does not answer; only how many alerts are kept has a bound.
//!
//! An Alertmanager is told of each alert at once and again and again, as it forgets those that it hears
//! nothing of. A webhook is told of groups, when it is their time.

use std::collections::{BTreeMap, BTreeSet};

use forward_crds::{AlertLabel, AlertReceiver, Webhook};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Alert, Key};

/// How many alerts are kept for a receiver.
pub const MOST: usize = 1000;
/// How many alerts an Alertmanager is told of at once.
const BATCH: usize = 256;
/// How many alerts a message to a webhook has room for: what takes it may not take half a megabyte. The
/// others of the group come in further ones.
const ROOM: usize = 100;
/// The shortest and the longest pause after a message that has not arrived.
const RETRY: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_secs(30));
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
    /// By the values of the labels that make a group. What an Alertmanager is told is all one.
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
    /// Since when it is being told in several messages, some of which are still to come.
    round: Option<Timestamp>,
    /// Each waits for itself: a group that a receiver refuses keeps nothing of the others from it.
    delay: Option<Delay>,
}

/// The pause after a message that has not arrived.
#[derive(Clone, Copy, Debug)]
struct Delay {
    since: Timestamp,
    pause: SignedDuration,
    /// The pause before chance had its part in it.
    step: SignedDuration,
}

/// What a receiver is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The labels that all have in common because they are told together, by name.
    pub group: BTreeMap<&'static str, String>,
    /// The alerts.
    pub alerts: Vec<Notice>,
    /// How many more there are to tell of the group, for which there was no room: they come next.
    pub left: usize,
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
    /// Those of a receiver.
    pub fn of(receiver: &AlertReceiver) -> Self {
        match (&receiver.alertmanager, &receiver.webhook) {
            (None, Some(webhook)) => Self::of_webhook(webhook),
            _ => Self::Alertmanager,
        }
    }

    /// Those of a webhook.
    fn of_webhook(webhook: &Webhook) -> Self {
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

    /// The labels by which alerts are told together.
    fn labels(&self) -> impl Iterator<Item = AlertLabel> {
        let by = match self {
            Self::Alertmanager => None,
            Self::Grouped { by, .. } => Some(by),
        };
        by.into_iter().flatten().copied()
    }

    fn group_of(&self, key: &Key) -> Vec<String> {
        self.labels().map(|label| key.label(label).to_owned()).collect()
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

impl Group {
    fn new(begun: Timestamp) -> Self {
        Self { begun, told: None, round: None, delay: None }
    }

    /// Whether an alert is to be told with the group's next message.
    fn lacks(&self, entry: &Entry) -> bool {
        let is_older = |begun| entry.told.is_some_and(|told| told.at < begun);
        self.round.is_none_or(|begun| entry.is_news() || is_older(begun))
    }

    /// When it is told what it is to be told at that time. Under a clock that was set back, at once.
    fn after_delay(&self, at: Timestamp, now: Timestamp) -> Timestamp {
        let delay = self.delay.filter(|delay| delay.since <= now);
        delay.map_or(at, |delay| at.max(later(delay.since, delay.pause)))
    }
}

impl Outbox {
    /// For a receiver that has been told nothing, with room for so many alerts.
    pub fn new(terms: Terms, most: usize) -> Self {
        let (alerts, groups) = (BTreeMap::new(), BTreeMap::new());
        Self { terms, most, alerts, groups, refused: BTreeSet::new() }
    }

    /// The receiver is told by other terms from now on. What it has been told stays known: of what it has
    /// of that, it hears the end.
    pub fn set_terms(&mut self, terms: Terms, now: Timestamp) {
        if terms == self.terms {
            return;
        }
        if !terms.labels().eq(self.terms.labels()) {
            self.groups.clear();
        }
        self.terms = terms;
        let tells_ends = self.terms.tells_ends();
        self.alerts.retain(|_, entry| tells_ends || entry.ended.is_none());
        self.regroup(now);
    }

    /// Take in what is wrong now. How many alerts there was no room for that were not so before.
    pub fn observe(&mut self, firing: &BTreeMap<Key, Alert>, now: Timestamp) -> usize {
        let tells_ends = self.terms.tells_ends();
        let due = self.wanted().filter(|(.., at)| *at <= now).map(|(name, ..)| name.clone());
        let due = due.collect::<BTreeSet<_>>();
        self.alerts.retain(|key, entry| {
            if entry.ended.is_none() && !firing.contains_key(key) {
                entry.ended = Some(now);
                // What was over before it was due was nothing, and what the receiver does not want to
                // hear is kept from it.
                return tells_ends && (entry.told.is_some() || due.contains(&self.terms.group_of(key)));
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
                let entry = Entry { alert: alert.clone(), ended: None, told: None };
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

    /// What is to be told now, if anything. Groups of which no message was refused go first, then the
    /// one of which it is longest ago.
    pub fn due(&self, now: Timestamp) -> Option<Message> {
        let due = self.wanted().filter(|(_, group, _, at)| group.after_delay(*at, now) <= now);
        let (name, group, members, _) =
            due.min_by_key(|(_, group, ..)| group.delay.map(|delay| delay.since))?;
        let (expiry, room) = match &self.terms {
            Terms::Alertmanager => (Some(later(now, EXPIRY)), BATCH),
            Terms::Grouped { .. } => (None, ROOM),
        };
        let is_due = |entry: &&&Entry| match &self.terms {
            Terms::Alertmanager => Self::resend(entry).is_some_and(|at| at <= now),
            Terms::Grouped { .. } => group.lacks(entry),
        };
        let due = members.iter().filter(is_due).collect::<Vec<_>>();
        let labels = self.terms.labels().map(AlertLabel::as_str).zip(name.iter().cloned());
        Some(Message {
            group: labels.collect(),
            alerts: due.iter().take(room).map(|entry| entry.notice(expiry)).collect(),
            left: due.len().saturating_sub(room),
        })
    }

    /// When something is to be told, if nothing changes until then.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.wanted().map(|(_, group, _, at)| group.after_delay(at, now)).min()
    }

    /// A message has arrived.
    pub fn sent(&mut self, message: &Message, now: Timestamp) {
        for Notice { alert, ended, .. } in &message.alerts {
            let Some(entry) = self.alerts.get_mut(&alert.key) else { continue };
            if *ended && entry.ended.is_some() {
                self.alerts.remove(&alert.key);
            } else {
                entry.told = Some(Told { at: now, ended: *ended });
            }
        }
        if let Some(group) = self.group(message) {
            (group.told, group.delay) = (Some(now), None);
            if message.left > 0 {
                group.round.get_or_insert(now);
            }
        }
        self.regroup(now);
    }

    /// A message has not arrived: what it says is still to be told, after a pause. Of the usual one it
    /// takes so many percent, by which those who tell many are kept from doing so at one time.
    pub fn failed(&mut self, message: &Message, now: Timestamp, percent: i32) {
        if let Some(group) = self.group(message) {
            let step = group.delay.map_or(RETRY.0, |before| (before.step * 2).min(RETRY.1));
            group.delay = Some(Delay { since: now, pause: step * percent / 100, step });
        }
    }

    /// Whether the last message about some group has not arrived.
    pub fn is_failing(&self) -> bool {
        self.groups.values().any(|group| group.delay.is_some())
    }

    /// How many alerts the receiver has something else of than what is so.
    pub fn waiting(&self) -> usize {
        self.alerts.values().filter(|entry| entry.is_news()).count()
    }

    /// The groups that are to be told something, with their alerts, and when, pauses aside.
    fn wanted(&self) -> impl Iterator<Item = (&Vec<String>, &Group, Vec<&Entry>, Timestamp)> {
        let mut members = self.members();
        self.groups.iter().filter_map(move |(name, group)| {
            let members = members.remove(name)?;
            let at = self.wants(group, &members)?;
            Some((name, group, members, at))
        })
    }

    fn members(&self) -> BTreeMap<Vec<String>, Vec<&Entry>> {
        let mut members = BTreeMap::<_, Vec<_>>::new();
        for (key, entry) in &self.alerts {
            members.entry(self.terms.group_of(key)).or_default().push(entry);
        }
        members
    }

    /// When a group is to be told something.
    fn wants(&self, group: &Group, members: &[&Entry]) -> Option<Timestamp> {
        let Terms::Grouped { wait, interval, repeat, .. } = &self.terms else {
            return members.iter().filter_map(|entry| Self::resend(entry)).min();
        };
        let goes_on = members.iter().any(|entry| entry.ended.is_none());
        match group.told {
            None => Some(later(group.begun, *wait)),
            Some(told) if group.round.is_some() => Some(told),
            Some(told) if members.iter().any(|entry| entry.is_news()) => Some(later(told, *interval)),
            Some(told) => goes_on.then(|| later(told, *repeat)),
        }
    }

    /// When an Alertmanager is told of an alert.
    fn resend(entry: &Entry) -> Option<Timestamp> {
        match entry.told {
            _ if entry.is_news() => Some(Timestamp::MIN),
            Some(told) if entry.ended.is_none() => Some(later(told.at, RESEND)),
            _ => None,
        }
    }

    fn group(&mut self, message: &Message) -> Option<&mut Group> {
        let name = self.terms.labels().map(|label| message.group.get(label.as_str()).cloned());
        let name = name.map(Option::unwrap_or_default).collect::<Vec<_>>();
        self.groups.get_mut(&name)
    }

    /// Begin groups that have got their first alert, end rounds that are through, and forget groups that
    /// have no alert any more.
    fn regroup(&mut self, now: Timestamp) {
        let mut groups = std::mem::take(&mut self.groups);
        let members = self.members();
        let regrouped = members.into_iter().map(|(name, members)| {
            let mut group = groups.remove(&name).unwrap_or_else(|| Group::new(now));
            group.round = group.round.filter(|_| members.iter().any(|entry| group.lacks(entry)));
            (name, group)
        });
        self.groups = regrouped.collect();
    }
}

fn later(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
