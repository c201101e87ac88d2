//! Ending reservations: on request, and when their time is over.

use std::slice;

use sqlx::PgConnection;

use super::{Store, reserve::reservation};
use crate::reservation::{End, Refusal, Reservation, ReservationId, Status, Step};

/// How many reservations are ended in one transaction: it holds their items.
const BATCH: i64 = 100;

/// What came of a request to end a reservation.
#[derive(Debug)]
pub enum Ending {
    Ended(Reservation),
    /// It had ended before.
    Again(Reservation),
    Refused(Refusal),
    Unknown,
}

impl Store {
    /// Takes what is reserved from the stock for good.
    pub async fn commit(&self, id: &ReservationId) -> Result<Ending, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let ending = end(&mut transaction, id, End::Commit).await?;
        transaction.commit().await?;
        Ok(ending)
    }

    /// Gives back what is reserved. Where there is no such reservation, a released one is put there:
    /// the wish for it may still be on its way, and must not be granted when it comes.
    pub async fn release(&self, id: &ReservationId) -> Result<Ending, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let ending = if insert_released(&mut transaction, id).await? {
            Ending::Ended(reservation(id).fetch_one(&mut *transaction).await?)
        } else {
            end(&mut transaction, id, End::Release).await?
        };
        transaction.commit().await?;
        Ok(ending)
    }

    /// Ends some of the reservations whose time is over, those that nobody else is just ending. How
    /// many, and whether there may be more.
    pub async fn expire_some(&self) -> Result<(usize, bool), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let due = sqlx::query_scalar(
            "SELECT id FROM reservations WHERE status = 'active' AND expires_at <= now()
              ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED",
        );
        let due: Vec<String> = due.bind(BATCH).fetch_all(&mut *transaction).await?;
        settle(&mut transaction, &due, Status::Expired).await?;
        transaction.commit().await?;
        Ok((due.len(), i64::try_from(due.len()).is_ok_and(|count| count == BATCH)))
    }

    /// Ends reservations whose time is over and that hold one of these items. Waits for whoever is
    /// just ending one: afterwards its items are available.
    pub(super) async fn expire_holders(&self, skus: &[&str]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let due = sqlx::query_scalar(
            "SELECT id FROM reservations
              WHERE status = 'active' AND expires_at <= now()
                AND EXISTS (SELECT FROM reservation_lines WHERE reservation = id AND sku = ANY($1))
              ORDER BY id LIMIT $2 FOR UPDATE",
        );
        let due: Vec<String> = due.bind(skus).bind(BATCH).fetch_all(&mut *transaction).await?;
        settle(&mut transaction, &due, Status::Expired).await?;
        transaction.commit().await
    }
}

async fn end(connection: &mut PgConnection, id: &ReservationId, how: End) -> Result<Ending, sqlx::Error> {
    let lock = sqlx::query("SELECT FROM reservations WHERE id = $1 FOR UPDATE").bind(id.as_str());
    lock.execute(&mut *connection).await?;
    let Some(there) = reservation(id).fetch_optional(&mut *connection).await? else {
        return Ok(Ending::Unknown);
    };
    match how.decide(there.status) {
        Ok(Step::Stay) => Ok(Ending::Again(there)),
        Err(refusal) => Ok(Ending::Refused(refusal)),
        Ok(Step::Become(status)) => {
            settle(connection, slice::from_ref(&there.id), status).await?;
            Ok(Ending::Ended(Reservation { status, ..there }))
        }
    }
}

/// Ends active reservations, which are locked: what they hold is sold, or available again.
async fn settle(connection: &mut PgConnection, ids: &[String], status: Status) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let lock = sqlx::query(
        "SELECT FROM items
          WHERE sku IN (SELECT sku FROM reservation_lines WHERE reservation = ANY($1))
          ORDER BY sku FOR NO KEY UPDATE",
    );
    lock.bind(ids).execute(&mut *connection).await?;
    let move_units = sqlx::query(
        "UPDATE items
            SET reserved = reserved - held, on_hand = on_hand - CASE WHEN $2 THEN held ELSE 0 END
           FROM (SELECT sku, sum(quantity)::bigint AS held FROM reservation_lines
                  WHERE reservation = ANY($1) GROUP BY sku) AS lines
          WHERE lines.sku = items.sku",
    );
    move_units.bind(ids).bind(status == Status::Committed).execute(&mut *connection).await?;
    let end = sqlx::query("UPDATE reservations SET status = $2 WHERE id = ANY($1)");
    end.bind(ids).bind(status.as_str()).execute(connection).await?;
    Ok(())
}

/// Whether there was no reservation with this id yet.
async fn insert_released(connection: &mut PgConnection, id: &ReservationId) -> Result<bool, sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO reservations (id, status, expires_at) VALUES ($1, 'released', now())
         ON CONFLICT DO NOTHING",
    );
    Ok(insert.bind(id.as_str()).execute(connection).await?.rows_affected() == 1)
}
