//! Reserving: all of it or nothing.

use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::QueryAs};

use super::{Store, items};
use crate::{
    lines::{Shortage, Verdict},
    reservation::{Refusal, Reservation, ReservationId, Wish},
};

/// What came of a wish.
#[derive(Debug)]
pub enum Reserving {
    Reserved(Reservation),
    /// It had been granted before.
    Again(Reservation),
    Refused(Refusal),
    Short(Vec<Shortage>),
    /// The places of SKUs that are not in the inventory.
    Unknown(Vec<usize>),
}

/// What came of one try.
enum Attempt {
    Over(Reserving),
    /// There is enough, once reservations whose time is over have been ended.
    Overdue,
}

impl Store {
    /// Reserves what is wished for. Every turn of the loop ends reservations that stood in the way.
    pub async fn reserve(&self, wish: &Wish) -> Result<Reserving, sqlx::Error> {
        loop {
            match self.try_reserve(wish).await? {
                Attempt::Over(reserving) => return Ok(reserving),
                Attempt::Overdue => self.expire_holders(&wish.lines.skus()).await?,
            }
        }
    }

    /// Leaves nothing behind unless it succeeds: a transaction that is not committed is rolled back.
    async fn try_reserve(&self, wish: &Wish) -> Result<Attempt, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        if !insert(&mut transaction, wish).await? {
            let there = reservation(&wish.id).fetch_one(&mut *transaction).await?;
            return Ok(Attempt::Over(match there.decide_again(&wish.lines) {
                Ok(()) => Reserving::Again(there),
                Err(refusal) => Reserving::Refused(refusal),
            }));
        }
        let stock = items::lock(&mut transaction, &wish.lines.skus()).await?;
        match wish.lines.weigh(&items::by_sku(stock)) {
            Verdict::Enough => {}
            Verdict::Overdue => return Ok(Attempt::Overdue),
            Verdict::Short(shortages) => return Ok(Attempt::Over(Reserving::Short(shortages))),
            Verdict::Unknown(places) => return Ok(Attempt::Over(Reserving::Unknown(places))),
        }
        hold(&mut transaction, wish).await?;
        let reserved = reservation(&wish.id).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Attempt::Over(Reserving::Reserved(reserved)))
    }
}

/// Whether there was no reservation with this id yet. Waits for whoever is just making one.
async fn insert(connection: &mut PgConnection, wish: &Wish) -> Result<bool, sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO reservations (id, status, expires_at)
         VALUES ($1, 'active', now() + make_interval(secs => $2))
         ON CONFLICT DO NOTHING",
    );
    let insert = insert.bind(wish.id.as_str()).bind(wish.ttl.as_secs_f64());
    Ok(insert.execute(connection).await?.rows_affected() == 1)
}

/// Takes what is wished for from what is available. The items are locked, and there is enough.
async fn hold(connection: &mut PgConnection, wish: &Wish) -> Result<(), sqlx::Error> {
    let hold = sqlx::query(
        "WITH lines AS (
             INSERT INTO reservation_lines (reservation, sku, quantity)
             SELECT $1, * FROM unnest($2::text[], $3::bigint[])
             RETURNING sku, quantity)
         UPDATE items SET reserved = reserved + quantity FROM lines WHERE lines.sku = items.sku",
    );
    let hold = hold.bind(wish.id.as_str()).bind(wish.lines.skus()).bind(wish.lines.quantities());
    hold.execute(connection).await?;
    Ok(())
}

/// The reservation with an id.
pub(super) fn reservation(id: &ReservationId) -> QueryAs<'_, Postgres, Reservation, PgArguments> {
    sqlx::query_as("SELECT * FROM reservations_now WHERE id = $1").bind(id.as_str())
}
