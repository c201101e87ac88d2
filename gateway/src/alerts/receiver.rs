//! Tells one receiver what it is to be told, and again until it has it.

use std::time::Duration;

use forward_crds::{AlertReceiver, Alertmanager};
use forward_plan::alerts::{
    outbox::{MOST, Message, Outbox, Terms},
    payload,
};
use k8s_openapi::jiff::Timestamp;
use tokio::{sync::watch, time::sleep};

use super::{Wanted, counts::Counts, post::Poster};
use crate::{data::balance::Dice, events::About};

/// How long it is waited at most until it is looked whether something is due: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// One that is told.
pub struct Receiver {
    name: String,
    place: Place,
    about: About,
    poster: Poster,
    counts: Counts,
    outbox: Outbox,
    dice: Dice,
    /// Why it cannot be told.
    fault: Option<String>,
}

/// Where it is, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    kind: Kind,
    url: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Alertmanager,
    Webhook,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
        }
    }
}

impl Place {
    /// `None` for one that is of no kind.
    pub fn of(spec: &AlertReceiver) -> Option<Self> {
        match (&spec.alertmanager, &spec.webhook) {
            (Some(Alertmanager { url }), _) => {
                Some(Self { kind: Kind::Alertmanager, url: url.trim_end_matches('/').to_owned() })
            }
            (None, Some(webhook)) => Some(Self { kind: Kind::Webhook, url: webhook.url.clone() }),
            (None, None) => None,
        }
    }
}

impl Receiver {
    /// One that has been told nothing yet.
    pub fn new(
        name: String,
        place: Place,
        terms: &Terms,
        about: About,
        poster: Poster,
        counts: Counts,
    ) -> Self {
        let (outbox, dice) = (Outbox::new(terms.clone(), MOST), Dice::new());
        Self { name, place, about, poster, counts, outbox, dice, fault: None }
    }

    /// Tell it what is wrong, until nobody says any more what that is.
    pub async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        let mut waiting = self.counts.waiting();
        loop {
            let dropped = {
                let Wanted { terms, firing } = wanted.borrow_and_update().clone();
                let now = Timestamp::now();
                self.outbox.set_terms(terms, now);
                self.outbox.observe(&firing, now)
            };
            if dropped > 0 {
                tracing::warn!(receiver = self.name, dropped, "no room for alerts");
                self.counts.dropped(self.place.kind.as_str(), dropped);
            }
            waiting.set(self.outbox.waiting());
            let now = Timestamp::now();
            if let Some(message) = self.outbox.due(now) {
                self.tell(&message).await;
                waiting.set(self.outbox.waiting());
                continue;
            }
            let until = self.outbox.next(now).map(|next| next.duration_since(now));
            let until = until.map_or(LOOK, |until| until.try_into().unwrap_or_default());
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = sleep(until.min(LOOK)) => {}
            }
        }
    }

    /// Tell it something.
    async fn tell(&mut self, message: &Message) {
        let (under, body) = match self.place.kind {
            Kind::Alertmanager => (Some("/api/v2/alerts"), payload::alertmanager(message)),
            Kind::Webhook => (None, payload::webhook(&self.name, message)),
        };
        let posted = self.poster.post(&self.place.url, under, &body).await;
        self.counts.sent(self.place.kind.as_str(), posted.is_ok());
        let namespace = self.about.namespace().to_owned();
        let Err(error) = posted else {
            self.outbox.sent(message, Timestamp::now());
            // What else it refuses is not told yet.
            if !self.outbox.is_failing() && self.fault.take().is_some() {
                tracing::info!(namespace, receiver = self.name, "the receiver is told again");
                let note = format!("receiver {} is told again", self.name);
                self.about.note("AlertsDelivered", &note).await;
            }
            return;
        };
        let percent = self.dice.within(75..=124);
        self.outbox.failed(message, Timestamp::now(), percent.into());
        let fault = error.to_string();
        if self.fault.as_ref() != Some(&fault) {
            tracing::warn!(
                namespace,
                receiver = self.name,
                error = fault,
                "cannot tell a receiver of alerts"
            );
            let note = format!("receiver {} is not told of alerts, which are kept: {fault}", self.name);
            self.about.warn("AlertsNotDelivered", &note).await;
            self.fault = Some(fault);
        }
    }
}
