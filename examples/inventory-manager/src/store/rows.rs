//! Rows as what they stand for.

use sqlx::{FromRow, Row, postgres::PgRow, types::Json};

use crate::{
    item::{Sku, Stock},
    reservation::{Reservation, Status},
};

/// The database has something that the program would never have put there.
#[derive(Debug, thiserror::Error)]
#[error("read {0:?} from the database")]
struct ReadValue(String);

fn read<T>(row: &PgRow, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    parse(text).ok_or_else(|| sqlx::Error::decode(ReadValue(text.to_owned())))
}

impl FromRow<'_, PgRow> for Stock {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let on_hand: i64 = row.try_get("on_hand")?;
        let reserved: i64 = row.try_get("reserved")?;
        Ok(Self {
            sku: read(row, "sku", Sku::parse)?,
            name: row.try_get("name")?,
            price: row.try_get("price")?,
            currency: row.try_get("currency")?,
            on_hand,
            reserved,
            available: on_hand - reserved,
            overdue: row.try_get("overdue")?,
        })
    }
}

impl FromRow<'_, PgRow> for Reservation {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Json(items) = row.try_get("items")?;
        let created_at: jiff_sqlx::Timestamp = row.try_get("created_at")?;
        let expires_at: jiff_sqlx::Timestamp = row.try_get("expires_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            status: read(row, "status", Status::parse)?,
            items,
            created_at: created_at.to_jiff(),
            expires_at: expires_at.to_jiff(),
            serial: row.try_get("serial")?,
        })
    }
}
