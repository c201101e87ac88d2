//! Refunds: their amounts are set aside, under a lock on the payment, before the processor is asked.

use example_database::bounded;
use sqlx::{Error, PgConnection};

use super::{
    BATCH, CLAIM, KEY_KNOWN, Ledger,
    claims::{claim_one, claim_some},
    rows::{payment_columns, refund_columns},
};
use crate::{
    payment::{Payment, Refund, RefundStatus},
    processor::Repaid,
    refund::{RefuseRefund, decide},
    request::RefundRequest,
};

/// What came of opening a refund.
#[derive(Debug)]
pub enum OpenedRefund {
    /// It is new, and this pod's to give.
    New(Refund),
    /// The key was there before, with this refund.
    Known(Refund),
    NoPayment,
    Refused(RefuseRefund),
}

const BY_KEY: &str = concat!("SELECT ", refund_columns!(), " FROM refunds WHERE idempotency_key = $1");

impl Ledger {
    /// Sets aside what is to be given back, once for each key.
    pub async fn open_refund(
        &self,
        id: &str,
        payment_id: &str,
        key: Option<&str>,
        request: &RefundRequest,
    ) -> Result<OpenedRefund, Error> {
        bounded(async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock_payment(&mut transaction, payment_id).await? else {
                return Ok(OpenedRefund::NoPayment);
            };
            if let Some(known) = refund_by_key(&mut transaction, key).await? {
                return Ok(OpenedRefund::Known(known));
            }
            let amount = match decide(payment.status, payment.amount, payment.refunded, request.amount) {
                Ok(amount) => amount,
                Err(refused) => return Ok(OpenedRefund::Refused(refused)),
            };
            let Some(refund) = insert(&mut transaction, id, payment_id, key, request, amount).await? else {
                // Another payment's refund took the key in the meantime.
                let known = sqlx::query_as(BY_KEY).bind(key).fetch_one(&mut *transaction).await?;
                return Ok(OpenedRefund::Known(known));
            };
            add_refunded(&mut transaction, payment_id, amount).await?;
            transaction.commit().await?;
            Ok(OpenedRefund::New(refund))
        })
        .await
    }

    /// The refunds of payments that were not refused, oldest first.
    pub async fn refunds(&self, payment_ids: &[String]) -> Result<Vec<Refund>, Error> {
        const LIST: &str = concat!(
            "SELECT ",
            refund_columns!(),
            " FROM refunds WHERE payment_id = ANY($1) AND status <> 'refused' ORDER BY id"
        );
        bounded(sqlx::query_as(LIST).bind(payment_ids).fetch_all(&self.pool)).await
    }

    /// Takes a pending refund over, if nobody is at it.
    pub async fn claim_refund(&self, id: &str) -> Result<Option<Refund>, Error> {
        const TAKE: &str = claim_one!("refunds", refund_columns);
        let take = sqlx::query_as(TAKE).bind(id).bind(CLAIM).bind(KEY_KNOWN);
        bounded(take.fetch_optional(&self.pool)).await
    }

    /// Takes over some of those pending refunds that nobody is at. Pods that do so at the same time
    /// get different ones.
    pub async fn claim_refunds(&self) -> Result<Vec<Refund>, Error> {
        const TAKE: &str = claim_some!("refunds", refund_columns);
        let take = sqlx::query_as(TAKE).bind(CLAIM).bind(KEY_KNOWN).bind(BATCH);
        bounded(take.fetch_all(&self.pool)).await
    }

    /// Records what became of a refund: the refund as it is then, and whether this changed it. What
    /// was set aside for one that is refused is free again.
    pub async fn record_refund(&self, id: &str, repaid: &Repaid) -> Result<(Refund, bool), Error> {
        const SETTLE: &str = concat!(
            "UPDATE refunds SET status = $2, provider_id = $3 WHERE id = $1 AND status = 'pending' RETURNING ",
            refund_columns!()
        );
        const FIND: &str = concat!("SELECT ", refund_columns!(), " FROM refunds WHERE id = $1");
        let (status, provider_id) = match repaid {
            Repaid::Succeeded { provider_id } => (RefundStatus::Succeeded, Some(provider_id.as_str())),
            Repaid::Refused => (RefundStatus::Refused, None),
        };
        bounded(async {
            let mut transaction = self.pool.begin().await?;
            let settle = sqlx::query_as(SETTLE).bind(id).bind(status.as_str()).bind(provider_id);
            let settled: Option<Refund> = settle.fetch_optional(&mut *transaction).await?;
            let Some(refund) = settled else {
                let refund = sqlx::query_as(FIND).bind(id).fetch_one(&mut *transaction).await?;
                return Ok((refund, false));
            };
            if *repaid == Repaid::Refused {
                add_refunded(&mut transaction, &refund.payment_id, -refund.amount).await?;
            }
            transaction.commit().await?;
            Ok((refund, true))
        })
        .await
    }
}

/// A payment that nobody else changes until the transaction ends.
pub async fn lock_payment(connection: &mut PgConnection, id: &str) -> Result<Option<Payment>, Error> {
    const LOCK: &str = concat!("SELECT ", payment_columns!(), " FROM payments WHERE id = $1 FOR UPDATE");
    sqlx::query_as(LOCK).bind(id).fetch_optional(connection).await
}

/// Adds to what is refunded of a payment; the table refuses more than its amount.
pub async fn add_refunded(connection: &mut PgConnection, id: &str, amount: i64) -> Result<(), Error> {
    const ADD: &str = "UPDATE payments SET refunded = refunded + $2 WHERE id = $1";
    sqlx::query(ADD).bind(id).bind(amount).execute(connection).await.map(drop)
}

async fn refund_by_key(connection: &mut PgConnection, key: Option<&str>) -> Result<Option<Refund>, Error> {
    match key {
        Some(key) => sqlx::query_as(BY_KEY).bind(key).fetch_optional(connection).await,
        None => Ok(None),
    }
}

async fn insert(
    connection: &mut PgConnection,
    id: &str,
    payment_id: &str,
    key: Option<&str>,
    request: &RefundRequest,
    amount: i64,
) -> Result<Option<Refund>, Error> {
    const INSERT: &str = concat!(
        "INSERT INTO refunds (id, payment_id, amount, requested, reason, idempotency_key, claimed_until)
        VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
        ON CONFLICT (idempotency_key) DO NOTHING RETURNING ",
        refund_columns!()
    );
    let RefundRequest { amount: requested, reason } = request;
    sqlx::query_as(INSERT)
        .bind(id)
        .bind(payment_id)
        .bind(amount)
        .bind(requested)
        .bind(reason.as_deref())
        .bind(key)
        .bind(CLAIM)
        .fetch_optional(connection)
        .await
}
