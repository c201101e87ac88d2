//! The journal: every order and the step that it is at, in PostgreSQL.
//!
//! Owns who may drive an order. A driver holds it for the length of a lease, by the database's clock,
//! and every step renews that. Invariant: a step is written only by the driver that holds the order,
//! and only over the step that this driver knew.

#[cfg(test)]
mod tests;

use std::time::Duration;

use example_database::Limit;
use jiff_sqlx::Timestamp;
use sqlx::{FromRow, PgPool, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    order::{Item, Order},
    outcome::{Answer, Learnt, Refusal},
    request::NewOrder,
    step::Step,
};

/// What makes the tables.
pub const TABLES: &str = include_str!("journal.sql");

#[derive(Clone, Debug)]
pub struct Journal {
    pool: PgPool,
    lease: Duration,
}

/// Who drives an order; a new one for every time that an order is taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(String);

/// What became of a request for an order.
#[derive(Debug)]
pub enum Taken {
    /// A new order, which the holder drives.
    New(Order, Holder),
    /// The order of an earlier request with the same key.
    Known(Order),
}

/// Which orders are listed.
#[derive(Clone, Debug)]
pub struct Listed {
    pub status: Option<String>,
    pub after: Option<String>,
    pub limit: Limit,
}

impl Journal {
    pub fn new(pool: PgPool, lease: Duration) -> Self {
        Self { pool, lease }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes an order down. The key is the order's, in one row: there is no moment in which one of
    /// them is there without the other.
    pub async fn take_down(&self, request: &NewOrder, key: Option<&str>) -> Result<Taken, sqlx::Error> {
        let (id, holder) = (format!("ord_{}", Uuid::now_v7().simple()), Holder::new());
        let order = sqlx::query_as::<_, Order>(
            "INSERT INTO orders (id, idempotency_key, customer_id, payment_method, items, driver, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, now() + $7)
             ON CONFLICT (idempotency_key) DO NOTHING RETURNING *",
        );
        let order = order.bind(id).bind(key).bind(&request.customer_id).bind(&request.payment_method);
        let order = order.bind(Json(request.items())).bind(&holder.0).bind(self.lease);
        if let Some(order) = order.fetch_optional(&self.pool).await? {
            return Ok(Taken::New(order, holder));
        }
        let known = sqlx::query_as("SELECT * FROM orders WHERE idempotency_key = $1");
        known.bind(key).fetch_one(&self.pool).await.map(Taken::Known)
    }

    pub async fn fetch(&self, id: &str) -> Result<Option<Order>, sqlx::Error> {
        sqlx::query_as("SELECT * FROM orders WHERE id = $1").bind(id).fetch_optional(&self.pool).await
    }

    /// Orders, the newest first.
    pub async fn list(&self, listed: &Listed) -> Result<Vec<Order>, sqlx::Error> {
        let orders = sqlx::query_as(
            "SELECT * FROM orders
             WHERE ($1::text IS NULL
                    OR $1 = CASE WHEN step IN ('completed', 'rejected') THEN step ELSE 'pending' END)
               AND ($2::text IS NULL
                    OR (created_at, id) < (SELECT created_at, id FROM orders WHERE id = $2))
             ORDER BY created_at DESC, id DESC LIMIT $3",
        );
        let Listed { status, after, limit } = listed;
        orders.bind(status).bind(after).bind(limit.fetch()).fetch_all(&self.pool).await
    }

    /// Takes up orders that are due: nobody drives them, or nobody has for as long as the lease.
    pub async fn take_up(&self, limit: i64) -> Result<(Vec<Order>, Holder), sqlx::Error> {
        let holder = Holder::new();
        let orders = sqlx::query_as(
            "UPDATE orders SET driver = $1, due_at = now() + $2
             WHERE id IN (SELECT id FROM orders
                          WHERE step NOT IN ('completed', 'rejected') AND due_at <= now()
                          ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING *",
        );
        let orders = orders.bind(&holder.0).bind(self.lease).bind(limit).fetch_all(&self.pool).await?;
        Ok((orders, holder))
    }

    /// Writes the step down that an answer leads to. `None`: somebody else drives the order now.
    pub async fn advance(
        &self,
        order: &Order,
        holder: &Holder,
        answer: &Answer,
    ) -> Result<Option<Order>, sqlx::Error> {
        let Answer { outcome, learnt: Learnt { quote, payment_id } } = answer;
        let advanced = sqlx::query_as(
            "UPDATE orders SET
                 step = $4, attempts = 0, due_at = now() + $5, updated_at = now(),
                 items = COALESCE($6, items), total = COALESCE($7, total), currency = COALESCE($8, currency),
                 payment_id = COALESCE($9, payment_id),
                 refusal = CASE WHEN $4 <> 'completed' THEN COALESCE(refusal, $10) END
             WHERE id = $1 AND step = $2 AND driver = $3 RETURNING *",
        );
        let advanced = advanced.bind(&order.id).bind(order.step.name()).bind(&holder.0);
        let advanced = advanced.bind(order.step.next(outcome).name()).bind(self.lease);
        let advanced = advanced
            .bind(quote.as_ref().map(|quote| Json(&quote.items)))
            .bind(quote.as_ref().map(|quote| quote.total))
            .bind(quote.as_ref().map(|quote| &quote.currency))
            .bind(payment_id)
            .bind(outcome.refusal().map(Json));
        advanced.fetch_optional(&self.pool).await
    }

    /// Holds the order on. `false`: somebody else drives it now.
    pub async fn hold_on(&self, order: &Order, holder: &Holder) -> Result<bool, sqlx::Error> {
        self.set_due(order, holder, self.lease).await
    }

    /// Lets go of the order: after the pause anybody may take it up.
    pub async fn put_back(&self, order: &Order, holder: &Holder, pause: Duration) -> Result<(), sqlx::Error> {
        self.set_due(order, holder, pause).await.map(drop)
    }

    async fn set_due(&self, order: &Order, holder: &Holder, pause: Duration) -> Result<bool, sqlx::Error> {
        let set = sqlx::query(
            "UPDATE orders SET due_at = now() + $4, attempts = $5 WHERE id = $1 AND step = $2 AND driver = $3",
        );
        let set = set.bind(&order.id).bind(order.step.name()).bind(&holder.0);
        let set = set.bind(pause).bind(i32::try_from(order.attempts).unwrap_or(i32::MAX));
        Ok(set.execute(&self.pool).await?.rows_affected() > 0)
    }
}

impl Holder {
    fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }
}

impl FromRow<'_, PgRow> for Order {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let step: String = row.try_get("step")?;
        let unknown = || sqlx::Error::Decode(format!("there is no step {step:?}").into());
        Ok(Self {
            id: row.try_get("id")?,
            step: Step::named(&step).ok_or_else(unknown)?,
            customer_id: row.try_get("customer_id")?,
            payment_method: row.try_get("payment_method")?,
            items: row.try_get::<Json<Vec<Item>>, _>("items")?.0,
            total: row.try_get("total")?,
            currency: row.try_get("currency")?,
            payment_id: row.try_get("payment_id")?,
            refusal: row.try_get::<Option<Json<Refusal>>, _>("refusal")?.map(|refusal| refusal.0),
            attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
            tracked: row.try_get::<String, _>("tracking")? == "tracked",
            created_at: row.try_get::<Timestamp, _>("created_at")?.to_jiff(),
            updated_at: row.try_get::<Timestamp, _>("updated_at")?.to_jiff(),
        })
    }
}
