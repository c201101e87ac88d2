//! The record of payments and refunds, in PostgreSQL.
//!
//! Owns every statement. Refuses to talk to the processor: no transaction is open while it is asked.
//! Invariant: a payment's status moves forward only, and what is refunded of it is never more than
//! its amount, whoever works on it at the same time.

mod claims;
mod events;
mod payments;
mod refunds;
mod rows;

use std::time::Duration;

use example_database::ConnectError;
use sqlx::PgPool;

pub use self::{
    events::{Change, Received},
    payments::{Filter, Opened},
    refunds::OpenedRefund,
};

const SCHEMA: &str = "payments";
const TABLES: &str = include_str!("ledger/tables.sql");

/// How long one pod has a payment or refund to itself, in seconds. If it is not done with it by
/// then, it is taken for dead, and any may go on.
const CLAIM: f64 = 10.0;
/// For how long the processor surely knows a key, in hours: Stripe forgets them after a day, and
/// then another try could be another charge. What is older waits for an event, or for somebody.
const KEY_KNOWN: f64 = 23.0;
/// How many are taken up at once.
const BATCH: i64 = 20;

#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

/// How many there are, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub payments_last_hour: i64,
    pub pending_payments: i64,
    pub pending_refunds: i64,
    /// Pending for so long that they are not tried again.
    pub stuck: i64,
}

impl Ledger {
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { pool: example_database::connect(url, SCHEMA, TABLES).await? })
    }

    /// How long the database takes to answer. Waits a second at most.
    pub async fn latency(&self) -> Result<Duration, sqlx::Error> {
        example_database::latency(&self.pool).await
    }

    pub async fn count(&self) -> Result<Census, sqlx::Error> {
        const COUNT: &str = "
            SELECT (SELECT count(*) FROM payments WHERE created_at > now() - interval '1 hour'),
                (SELECT count(*) FROM payments WHERE status = 'pending'),
                (SELECT count(*) FROM refunds WHERE status = 'pending'),
                (SELECT count(*) FROM payments
                    WHERE status = 'pending' AND created_at <= now() - make_interval(secs => $1 * 3600))
                + (SELECT count(*) FROM refunds
                    WHERE status = 'pending' AND created_at <= now() - make_interval(secs => $1 * 3600))";
        let counts = sqlx::query_as(COUNT).bind(KEY_KNOWN).fetch_one(&self.pool).await?;
        let (payments_last_hour, pending_payments, pending_refunds, stuck) = counts;
        Ok(Census { payments_last_hour, pending_payments, pending_refunds, stuck })
    }
}
