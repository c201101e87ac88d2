//! Events of the processor: each has its effect once, in the transaction that remembers it.

use std::time::Duration;

use example_database::bounded;
use sqlx::{Error, PgConnection};

use super::{
    Ledger,
    payments::advance,
    refunds::{add_refunded, lock_payment},
};
use crate::{
    event::{Event, News, Subject},
    id,
    payment::{Payment, Status},
    processor::Charged,
    signature::Mark,
};

/// How long events are remembered, in days. A processor gives up delivering long before.
const REMEMBERED: f64 = 30.0;

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The signed message itself was there before.
    Replayed,
    /// The event was there before, in another message.
    Duplicate,
    /// The record says so already, or does not keep such things.
    Ignored,
    Changed(Change),
}

/// What an event changed in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Payment(Status),
    /// So much more of a payment is refunded.
    Refunded(i64),
}

impl Ledger {
    /// Takes an event. If this fails, nothing of it is remembered, and it can be delivered again.
    pub async fn receive(&self, event: &Event, mark: &Mark) -> Result<Received, Error> {
        bounded(async {
            let mut transaction = self.pool.begin().await?;
            let received = remember_and_apply(&mut transaction, event, mark).await?;
            transaction.commit().await?;
            Ok(received)
        })
        .await
    }

    /// Forgets messages that are refused for their age by now, and events that are delivered no more.
    pub async fn forget(&self, tolerance: Duration) -> Result<(), Error> {
        const MESSAGES: &str =
            "DELETE FROM webhook_messages WHERE received_at < now() - make_interval(secs => $1)";
        const EVENTS: &str =
            "DELETE FROM webhook_events WHERE received_at < now() - make_interval(secs => $1 * 86400)";
        // A message from the edge of the future is fresh for twice the tolerance.
        let fresh = tolerance.as_secs_f64() * 2.0 + 60.0;
        bounded(async {
            sqlx::query(MESSAGES).bind(fresh).execute(&self.pool).await?;
            sqlx::query(EVENTS).bind(REMEMBERED).execute(&self.pool).await.map(drop)
        })
        .await
    }
}

async fn remember_and_apply(
    connection: &mut PgConnection,
    event: &Event,
    mark: &Mark,
) -> Result<Received, Error> {
    const MESSAGE: &str = "INSERT INTO webhook_messages (mark) VALUES ($1) ON CONFLICT DO NOTHING";
    const EVENT: &str = "INSERT INTO webhook_events (id) VALUES ($1) ON CONFLICT DO NOTHING";
    if sqlx::query(MESSAGE).bind(mark).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(Received::Replayed);
    }
    if sqlx::query(EVENT).bind(&event.id).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(Received::Duplicate);
    }
    let change = match &event.news {
        News::Other => None,
        News::Succeeded(subject) => {
            let charged = Charged::Succeeded { provider_id: subject.provider_id.clone() };
            apply_charge(connection, subject, &charged).await?
        }
        News::Declined(subject, code) => {
            let charged = Charged::Declined { provider_id: Some(subject.provider_id.clone()), code: *code };
            apply_charge(connection, subject, &charged).await?
        }
        News::Refunded(subject, refunded) => apply_refund(connection, subject, *refunded).await?,
    };
    Ok(change.map_or(Received::Ignored, Received::Changed))
}

async fn apply_charge(
    connection: &mut PgConnection,
    subject: &Subject,
    charged: &Charged,
) -> Result<Option<Change>, Error> {
    let Some(payment) = lock_subject(connection, subject).await? else { return Ok(None) };
    let advanced = advance(connection, &payment.id, charged).await?;
    Ok(advanced.map(|payment| Change::Payment(payment.status)))
}

/// Records as one refund what was refunded without us. Our own refunds are in the record before
/// the processor hears of them, and so are not counted twice.
async fn apply_refund(
    connection: &mut PgConnection,
    subject: &Subject,
    refunded: i64,
) -> Result<Option<Change>, Error> {
    const INSERT: &str = "
        INSERT INTO refunds (id, payment_id, status, amount, reason, claimed_until)
        VALUES ($1, $2, 'succeeded', $3, 'refunded at the processor', now())";
    let Some(payment) = lock_subject(connection, subject).await? else { return Ok(None) };
    // What was refunded was taken before, even if we have not heard of it.
    let charged = Charged::Succeeded { provider_id: subject.provider_id.clone() };
    advance(connection, &payment.id, &charged).await?;
    let more = refunded.min(payment.amount).saturating_sub(payment.refunded);
    if more <= 0 {
        return Ok(None);
    }
    let insert = sqlx::query(INSERT).bind(id::new(id::REFUND)).bind(&payment.id).bind(more);
    insert.execute(&mut *connection).await?;
    add_refunded(connection, &payment.id, more).await?;
    Ok(Some(Change::Refunded(more)))
}

/// The payment that an event is about, locked.
async fn lock_subject(connection: &mut PgConnection, subject: &Subject) -> Result<Option<Payment>, Error> {
    const FIND: &str = "SELECT id FROM payments WHERE provider_id = $1 OR id = $2 AND provider_id IS NULL";
    let Subject { provider_id, payment_id } = subject;
    let find = sqlx::query_as::<_, (String,)>(FIND).bind(provider_id).bind(payment_id.as_deref());
    match find.fetch_optional(&mut *connection).await? {
        Some((id,)) => lock_payment(connection, &id).await,
        None => Ok(None),
    }
}
