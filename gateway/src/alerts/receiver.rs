//! Tells one receiver what it is to be told, and again until it has it.

use std::time::Duration;

use forward_crds::{AlertReceiver, Alertmanager};
use forward_plan::alerts::{
    outbox::{MOST, Message, Outbox, Terms},
    payload,
};
use k8s_openapi::jiff::Timestamp;
use tokio::{sync::watch, time::sleep};

use super::{Firing, counts::Counts, post::Poster};
use crate::{data::balance::Dice, events::About};

/// How long it is waited at most until it is looked whether something is due: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// One that is told.
pub struct Receiver {
    name: String,
    kind: Kind,
    url: String,
    about: About,
    poster: Poster,
    counts: Counts,
    outbox: Outbox,
    dice: Dice,
    /// Why it cannot be told.
    fault: Option<String>,
}

#[derive(Clone, Copy)]
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

impl Receiver {
    /// One that has been told nothing yet; `None` for one that is of no kind, which the API server lets
    /// nobody write.
    pub fn new(spec: &AlertReceiver, about: About, poster: Poster, counts: Counts) -> Option<Self> {
        let (kind, url, terms) = match (&spec.alertmanager, &spec.webhook) {
            (Some(Alertmanager { url }), _) => {
                let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
                (Kind::Alertmanager, url, Terms::Alertmanager)
            }
            (None, Some(webhook)) => (Kind::Webhook, webhook.url.clone(), Terms::of_webhook(webhook)),
            (None, None) => return None,
        };
        let (name, outbox) = (spec.name.clone(), Outbox::new(terms, MOST));
        Some(Self { name, kind, url, about, poster, counts, outbox, dice: Dice::new(), fault: None })
    }

    /// Tell it what is wrong, until nobody says any more what that is.
    pub async fn run(mut self, mut firing: watch::Receiver<Firing>) {
        let mut waiting = self.counts.waiting();
        loop {
            let dropped = {
                let firing = firing.borrow_and_update().clone();
                self.outbox.observe(&firing, Timestamp::now())
            };
            if dropped > 0 {
                tracing::warn!(receiver = self.name, dropped, "no room for alerts");
                self.counts.dropped(self.kind.as_str(), dropped);
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
                changed = firing.changed() => if changed.is_err() { return },
                () = sleep(until.min(LOOK)) => {}
            }
        }
    }

    /// Tell it something.
    async fn tell(&mut self, message: &Message) {
        let body = match self.kind {
            Kind::Alertmanager => payload::alertmanager(message),
            Kind::Webhook => payload::webhook(&self.name, message),
        };
        let posted = self.poster.post(&self.url, &body).await;
        self.counts.sent(self.kind.as_str(), posted.is_ok());
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
        let percent = i32::try_from(self.dice.roll() % 50).expect("a remainder of 50 fits") + 75;
        self.outbox.failed(message, Timestamp::now(), percent);
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
