//! Who moves the money.

mod sandbox;
mod stripe;

use forward_sdk::axum::http::StatusCode;
use futures::future::BoxFuture;

pub use self::{sandbox::Sandbox, stripe::Stripe};
use crate::payment::DeclineCode;

/// Moves money. Asked again under the same key, it does nothing and answers as the first time.
pub trait Processor: Send + Sync {
    /// Whether a text can be a payment method at all.
    fn accepts(&self, method: &str) -> bool;

    /// Takes a payment.
    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<Charged, ProcessorError>>;

    /// Gives some of a payment back.
    fn refund<'a>(&'a self, repayment: Repayment<'a>) -> BoxFuture<'a, Result<Repaid, ProcessorError>>;

    /// Whether it can be asked.
    fn health(&self) -> BoxFuture<'_, Result<(), ProcessorError>>;
}

/// A payment to take.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The payment's id, which is the key too.
    pub id: &'a str,
    pub amount: i64,
    pub currency: &'a str,
    pub method: &'a str,
    pub description: Option<&'a str>,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    Succeeded { provider_id: String },
    Declined { provider_id: Option<String>, code: DeclineCode },
}

/// Money to give back.
#[derive(Clone, Copy, Debug)]
pub struct Repayment<'a> {
    /// The refund's id, which is the key too.
    pub id: &'a str,
    /// What the processor calls the payment.
    pub provider_id: &'a str,
    pub amount: i64,
}

/// What became of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaid {
    Succeeded { provider_id: String },
    Refused,
}

/// A call after which it is not known what became of the money.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    #[error("exchange a request with the processor")]
    Exchange(#[source] forward_sdk::Error),
    #[error("await the processor's answer for {0:?}")]
    Await(std::time::Duration),
    #[error("get a decision from the processor: it answered {status} ({kind:?})")]
    Decide { status: StatusCode, kind: String },
}
