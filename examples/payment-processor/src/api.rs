//! The routes: from requests to the cashier, and from what came of it to answers.

mod error;
mod payments;
mod refunds;
mod webhook;

use forward_sdk::axum::http::{HeaderMap, HeaderName, HeaderValue};

pub use self::{
    payments::{list, process, show},
    refunds::refund,
    webhook::webhook,
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The header of an answer that was given before.
fn replayed(replayed: bool) -> HeaderMap {
    let value = replayed.then(|| (REPLAYED, HeaderValue::from_static("true")));
    value.into_iter().collect()
}
