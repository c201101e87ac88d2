//! The stock and the reservations in PostgreSQL, which keeps every invariant.
//!
//! Whoever changes something locks reservations first, in the order of their ids, and then items,
//! in the order of their SKUs (a new reservation, which nobody else can see yet, counts as none):
//! so nobody waits for somebody who waits for him. Time is that of the database: the pods' clocks
//! may differ.

mod end;
mod items;
mod reserve;
mod rows;

use std::time::Duration;

use sqlx::{PgPool, Row};

pub use self::{end::Ending, items::Putting, reserve::Reserving};
use crate::{
    item::{Sku, Stock},
    reservation::{Reservation, ReservationId, Status},
};

/// The schema, for this plugin alone.
const SCHEMA: &str = "inventory";

#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

/// Sums over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub items: i64,
    pub on_hand: i64,
    pub reserved: i64,
    pub active: i64,
}

impl Store {
    /// Connects, and makes the tables where there are none.
    pub async fn connect(url: &str) -> Result<Self, example_database::ConnectError> {
        let pool = example_database::connect(url, SCHEMA, include_str!("schema.sql")).await?;
        Ok(Self { pool })
    }

    /// How long the database takes to answer.
    pub async fn latency(&self) -> Result<Duration, sqlx::Error> {
        example_database::latency(&self.pool).await
    }

    pub async fn fetch_totals(&self) -> Result<Totals, sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM reservations WHERE status = 'active' AND expires_at > now()) AS active,
                    count(*) AS items,
                    coalesce(sum(on_hand), 0)::bigint AS on_hand,
                    coalesce(sum(reserved), 0)::bigint AS reserved
               FROM stock",
        );
        let row = row.fetch_one(&self.pool).await?;
        Ok(Totals {
            items: row.try_get("items")?,
            on_hand: row.try_get("on_hand")?,
            reserved: row.try_get("reserved")?,
            active: row.try_get("active")?,
        })
    }

    /// Up to `limit` items after a SKU, in the order of their SKUs.
    pub async fn fetch_items(&self, after: Option<&Sku>, limit: i64) -> Result<Vec<Stock>, sqlx::Error> {
        sqlx::query_as("SELECT * FROM stock WHERE sku > $1 ORDER BY sku LIMIT $2")
            .bind(after.map_or("", Sku::as_str))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
    }

    /// The items that there are among these.
    pub async fn fetch_stock(&self, skus: &[&str]) -> Result<Vec<Stock>, sqlx::Error> {
        items::stock_of(skus).fetch_all(&self.pool).await
    }

    pub async fn fetch_reservation(&self, id: &ReservationId) -> Result<Option<Reservation>, sqlx::Error> {
        reserve::reservation(id).fetch_optional(&self.pool).await
    }

    /// Up to `limit` reservations that are older than the one with a serial number, the newest first.
    pub async fn fetch_reservations(
        &self,
        status: Option<Status>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Reservation>, sqlx::Error> {
        sqlx::query_as(
            "SELECT * FROM reservations_now
              WHERE serial < $1 AND ($2::text IS NULL OR status = $2)
              ORDER BY serial DESC LIMIT $3",
        )
        .bind(before.unwrap_or(i64::MAX))
        .bind(status.map(Status::as_str))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }
}
