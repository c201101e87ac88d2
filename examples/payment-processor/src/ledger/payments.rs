//! Payments: opened before the processor is asked, and moved forward when it has answered.

use example_database::{Limit, bounded};
use sqlx::{Error, PgConnection};

use super::{
    BATCH, CLAIM, KEY_KNOWN, Ledger,
    claims::{claim_one, claim_some},
    rows::payment_columns,
};
use crate::{
    payment::{Payment, Status},
    processor::Charged,
    request::PaymentRequest,
};

/// What came of opening a payment.
#[derive(Debug)]
pub enum Opened {
    /// It is new, and this pod's to charge.
    New(Payment),
    /// The key was there before, with this payment.
    Known(Payment),
}

/// Which payments to list: newest first, those after a payment.
#[derive(Debug)]
pub struct Filter {
    pub reference: Option<String>,
    pub status: Option<Status>,
    pub after: Option<String>,
    pub limit: Limit,
}

impl Ledger {
    /// Writes down that a payment is to be taken, once for each key.
    pub async fn open_payment(
        &self,
        id: &str,
        key: Option<&str>,
        request: &PaymentRequest,
    ) -> Result<Opened, Error> {
        const OPEN: &str = concat!(
            "INSERT INTO payments (id, idempotency_key, amount, currency, method, customer_id, description,
                reference, claimed_until)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
            ON CONFLICT (idempotency_key) DO NOTHING RETURNING ",
            payment_columns!()
        );
        const KNOWN: &str =
            concat!("SELECT ", payment_columns!(), " FROM payments WHERE idempotency_key = $1");
        let PaymentRequest { amount, currency, method, customer_id, description, reference } = request;
        let open = sqlx::query_as(OPEN)
            .bind(id)
            .bind(key)
            .bind(amount)
            .bind(currency)
            .bind(method)
            .bind(customer_id)
            .bind(description.as_deref())
            .bind(reference.as_deref())
            .bind(CLAIM);
        bounded(async {
            match open.fetch_optional(&self.pool).await? {
                Some(payment) => Ok(Opened::New(payment)),
                None => sqlx::query_as(KNOWN).bind(key).fetch_one(&self.pool).await.map(Opened::Known),
            }
        })
        .await
    }

    pub async fn payment(&self, id: &str) -> Result<Option<Payment>, Error> {
        const FIND: &str = concat!("SELECT ", payment_columns!(), " FROM payments WHERE id = $1");
        bounded(sqlx::query_as(FIND).bind(id).fetch_optional(&self.pool)).await
    }

    pub async fn payments(&self, filter: &Filter) -> Result<Vec<Payment>, Error> {
        const LIST: &str = concat!(
            "SELECT ",
            payment_columns!(),
            " FROM payments
            WHERE ($1::text IS NULL OR reference = $1) AND ($2::text IS NULL OR status = $2)
                AND ($3::text IS NULL OR id < $3)
            ORDER BY id DESC LIMIT $4"
        );
        let Filter { reference, status, after, limit } = filter;
        let list = sqlx::query_as(LIST)
            .bind(reference.as_deref())
            .bind(status.map(Status::as_str))
            .bind(after.as_deref())
            .bind(limit.fetch());
        bounded(list.fetch_all(&self.pool)).await
    }

    /// Takes a pending payment over, if nobody is at it.
    pub async fn claim_payment(&self, id: &str) -> Result<Option<Payment>, Error> {
        const TAKE: &str = claim_one!("payments", payment_columns);
        let take = sqlx::query_as(TAKE).bind(id).bind(CLAIM).bind(KEY_KNOWN);
        bounded(take.fetch_optional(&self.pool)).await
    }

    /// Takes over some of those pending payments that nobody is at. Pods that do so at the same time
    /// get different ones.
    pub async fn claim_payments(&self) -> Result<Vec<Payment>, Error> {
        const TAKE: &str = claim_some!("payments", payment_columns);
        let take = sqlx::query_as(TAKE).bind(CLAIM).bind(KEY_KNOWN).bind(BATCH);
        bounded(take.fetch_all(&self.pool)).await
    }

    /// Records what became of a charge: the payment as it is then, and whether this changed it.
    pub async fn record_charge(&self, id: &str, charged: &Charged) -> Result<(Payment, bool), Error> {
        const FIND: &str = concat!("SELECT ", payment_columns!(), " FROM payments WHERE id = $1");
        bounded(async {
            let mut transaction = self.pool.begin().await?;
            let advanced = advance(&mut transaction, id, charged).await?;
            let changed = advanced.is_some();
            let payment = match advanced {
                Some(payment) => payment,
                None => sqlx::query_as(FIND).bind(id).fetch_one(&mut *transaction).await?,
            };
            transaction.commit().await?;
            Ok((payment, changed))
        })
        .await
    }
}

/// Moves a payment forward, from pending to declined to succeeded; never back.
pub async fn advance(
    connection: &mut PgConnection,
    id: &str,
    charged: &Charged,
) -> Result<Option<Payment>, Error> {
    const ADVANCE: &str = concat!(
        "UPDATE payments SET status = $2, provider_id = coalesce($3, provider_id), decline_code = $4
        WHERE id = $1 AND (status = 'pending' OR status = 'declined' AND $2 = 'succeeded') RETURNING ",
        payment_columns!()
    );
    let (status, provider_id, code) = match charged {
        Charged::Succeeded { provider_id } => (Status::Succeeded, Some(provider_id.as_str()), None),
        Charged::Declined { provider_id, code } => {
            (Status::Declined, provider_id.as_deref(), Some(code.as_str()))
        }
    };
    let advance = sqlx::query_as(ADVANCE).bind(id).bind(status.as_str()).bind(provider_id).bind(code);
    advance.fetch_optional(connection).await
}
