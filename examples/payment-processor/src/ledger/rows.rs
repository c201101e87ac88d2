//! Rows of the tables as what they stand for.

use jiff_sqlx::Timestamp;
use sqlx::{Error, FromRow, Row, postgres::PgRow};

use crate::payment::{DeclineCode, Payment, Refund, RefundStatus, Status};

/// The columns that make a [`Payment`].
macro_rules! payment_columns {
    () => {
        "id, status, amount, currency, method, customer_id, description, reference, refunded, \
         decline_code, provider_id, created_at"
    };
}

/// The columns that make a [`Refund`].
macro_rules! refund_columns {
    () => {
        "id, payment_id, status, amount, requested, reason, created_at, \
         (SELECT currency FROM payments WHERE payments.id = payment_id) AS currency, \
         (SELECT provider_id FROM payments WHERE payments.id = payment_id) AS charge_id"
    };
}

pub(super) use {payment_columns, refund_columns};

impl FromRow<'_, PgRow> for Payment {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        let decline_code: Option<String> = row.try_get("decline_code")?;
        Ok(Self {
            id: row.try_get("id")?,
            status: status(row.try_get("status")?)?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            method: row.try_get("method")?,
            customer_id: row.try_get("customer_id")?,
            description: row.try_get("description")?,
            reference: row.try_get("reference")?,
            refunded: row.try_get("refunded")?,
            decline_code: decline_code.as_deref().map(DeclineCode::from_name),
            provider_id: row.try_get("provider_id")?,
            created_at: row.try_get::<Timestamp, _>("created_at")?.to_jiff(),
        })
    }
}

impl FromRow<'_, PgRow> for Refund {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            payment_id: row.try_get("payment_id")?,
            status: refund_status(row.try_get("status")?)?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            charge_id: row.try_get("charge_id")?,
            requested: row.try_get("requested")?,
            reason: row.try_get("reason")?,
            created_at: row.try_get::<Timestamp, _>("created_at")?.to_jiff(),
        })
    }
}

fn status(name: &str) -> Result<Status, Error> {
    match name {
        "pending" => Ok(Status::Pending),
        "declined" => Ok(Status::Declined),
        "succeeded" => Ok(Status::Succeeded),
        other => Err(Error::Decode(format!("read the status {other:?} of a payment").into())),
    }
}

fn refund_status(name: &str) -> Result<RefundStatus, Error> {
    match name {
        "pending" => Ok(RefundStatus::Pending),
        "succeeded" => Ok(RefundStatus::Succeeded),
        "refused" => Ok(RefundStatus::Refused),
        other => Err(Error::Decode(format!("read the status {other:?} of a refund").into())),
    }
}
