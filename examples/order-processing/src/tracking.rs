//! Tells analytics of the orders that are completed: beside the orders' way, never in it.
//!
//! Analytics may be away for as long as it likes: the backlog waits in the journal, and flows, so
//! many at a time, when it is back. What is too old is given up and counted.

use std::time::Duration;

use forward_sdk::{Dependency, tracing};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    driver::Drives, journal::Journal, metrics::Counts, order::Order, outbox, services::Reach,
    services::Service,
};

/// How often it is looked for orders that analytics does not know of: so many batches it is sent in
/// that time at most.
const EVERY: Duration = Duration::from_millis(500);
/// How many orders one call tells of.
const BATCH: i64 = 100;

#[derive(Clone, Debug)]
pub struct Tracker {
    service: Service,
    journal: Journal,
    counts: Counts,
    /// For how long an order is told of.
    patience: Duration,
}

/// What analytics is told of an order.
#[derive(Debug, Serialize)]
struct Event<'a> {
    id: &'a str,
    r#type: &'static str,
    user_id: &'a str,
    timestamp: Timestamp,
    properties: Properties<'a>,
}

#[derive(Debug, Serialize)]
struct Properties<'a> {
    order_id: &'a str,
    total_amount: Option<i64>,
    currency: Option<&'a str>,
    item_count: i64,
}

/// How analytics took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Taken,
    /// It will not take it, however often it is told.
    Refused,
    /// It may have taken it or not.
    Unknown,
}

impl Tracker {
    pub fn new(analytics: Dependency, journal: Journal, counts: Counts, patience: Duration) -> Self {
        Self { service: Service::new(analytics), journal, counts, patience }
    }

    /// Tells of orders until the drives are to stop.
    pub async fn run(self, drives: Drives) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = drives.stopping.cancelled() => return,
            }
            if let Err(error) = self.tell_next().await {
                tracing::warn!(%error, "the journal could not be searched for orders to tell of");
            }
        }
    }

    /// How analytics answered last.
    pub fn reach(&self) -> (&str, Reach) {
        self.service.reach()
    }

    async fn tell_next(&self) -> Result<(), sqlx::Error> {
        let pool = self.journal.pool();
        let lost = example_database::bounded(outbox::give_up_older(pool, self.patience)).await?;
        self.counts.tracking_given_up.inc_by(lost);
        let orders = example_database::bounded(outbox::take(pool, BATCH)).await?;
        match self.tell(&orders).await {
            // One that it refuses must not keep the others back.
            Told::Refused => {
                for order in &orders {
                    let told = self.tell(std::slice::from_ref(order)).await;
                    self.note(std::slice::from_ref(order), told).await?;
                }
                Ok(())
            }
            told => self.note(&orders, told).await,
        }
    }

    /// Notes how it took orders; what is unknown is told again later.
    async fn note(&self, orders: &[Order], told: Told) -> Result<(), sqlx::Error> {
        match (told, orders) {
            (Told::Taken, [_, ..]) => {
                outbox::mark_tracked(self.journal.pool(), orders).await?;
                self.counts.tracked.inc_by(orders.len() as u64);
            }
            (Told::Refused, [order]) => {
                outbox::give_up(self.journal.pool(), order).await?;
                self.counts.tracking_given_up.inc();
            }
            _ => {}
        }
        Ok(())
    }

    async fn tell(&self, orders: &[Order]) -> Told {
        if orders.is_empty() {
            return Told::Unknown;
        }
        let events: Vec<_> = orders.iter().map(event).collect();
        let body = serde_json::json!({"events": events});
        match self.service.post("/api/analytics/track", None, &body).await {
            Ok(reply) => told(reply.status),
            Err(error) => {
                tracing::debug!(%error, "analytics does not answer");
                Told::Unknown
            }
        }
    }
}

fn event(order: &Order) -> Event<'_> {
    Event {
        id: &order.id,
        r#type: "order_completed",
        user_id: &order.customer_id,
        timestamp: order.updated_at,
        properties: Properties {
            order_id: &order.id,
            total_amount: order.total,
            currency: order.currency.as_deref(),
            item_count: order.items.iter().map(|item| item.quantity).sum(),
        },
    }
}

fn told(status: StatusCode) -> Told {
    match status {
        StatusCode::ACCEPTED => Told::Taken,
        StatusCode::UNPROCESSABLE_ENTITY => Told::Refused,
        _ => Told::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::step::Step;

    #[test]
    fn an_event_is_known_by_its_order() {
        let order = Order::example(Step::Completed);
        let expected = json!({
            "id": "ord_1",
            "type": "order_completed",
            "user_id": "ada",
            "timestamp": "1970-01-01T00:00:00Z",
            "properties": {"order_id": "ord_1", "total_amount": 700, "currency": "USD", "item_count": 2},
        });
        assert_eq!(serde_json::to_value(event(&order)).unwrap(), expected);
    }

    #[test]
    fn only_a_refusal_of_the_event_itself_is_final() {
        let statuses =
            [202, 422, 200, 404, 429, 500, 503].map(|status| told(StatusCode::from_u16(status).unwrap()));
        let [taken, refused, rest @ ..] = statuses;
        assert_eq!((taken, refused, rest), (Told::Taken, Told::Refused, [Told::Unknown; 5]));
    }
}
