//! What Stripe's answers mean. Only what says for sure that money moved, or that it did not, is a
//! decision; all else is an error, and the charge is asked about again under its key.

use forward_sdk::axum::http::StatusCode;
use serde::Deserialize;

use crate::{
    payment::DeclineCode,
    processor::{Charged, ProcessorError, Repaid},
};

/// A payment intent, a refund, or anything else that has no status.
#[derive(Debug, Default, Deserialize)]
struct Thing {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Error,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Error {
    r#type: String,
    code: Option<String>,
    decline_code: Option<String>,
    payment_intent: Option<Thing>,
}

pub fn read_charge(status: StatusCode, body: &[u8]) -> Result<Charged, ProcessorError> {
    if status.is_success() {
        let Thing { id, status: state } = thing(status, body)?;
        return match state.as_str() {
            "succeeded" => Ok(Charged::Succeeded { provider_id: id }),
            "requires_payment_method" | "requires_action" | "canceled" => {
                Ok(Charged::Declined { provider_id: Some(id), code: DeclineCode::CardDeclined })
            }
            _ => Err(ProcessorError::Decide { status, kind: state }),
        };
    }
    let Error { r#type, code, decline_code, payment_intent } = refusal(status, body)?;
    let code = decline_code.or(code).unwrap_or_default();
    log_refusal(&r#type, &code);
    let provider_id = payment_intent.map(|intent| intent.id).filter(|id| !id.is_empty());
    Ok(Charged::Declined { provider_id, code: DeclineCode::from_name(&code) })
}

pub fn read_refund(status: StatusCode, body: &[u8]) -> Result<Repaid, ProcessorError> {
    if status.is_success() {
        let Thing { id, status: state } = thing(status, body)?;
        return match state.as_str() {
            // One that is pending is on its way to the bank.
            "succeeded" | "pending" => Ok(Repaid::Succeeded { provider_id: id }),
            "failed" | "canceled" => Ok(Repaid::Refused),
            _ => Err(ProcessorError::Decide { status, kind: state }),
        };
    }
    let Error { r#type, code, .. } = refusal(status, body)?;
    log_refusal(&r#type, &code.unwrap_or_default());
    Ok(Repaid::Refused)
}

pub fn read_health(status: StatusCode, body: &[u8]) -> Result<(), ProcessorError> {
    if status.is_success() {
        return Ok(());
    }
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    Err(ProcessorError::Decide { status, kind: error.r#type })
}

/// What an answer of success is about. Without an id it decides nothing.
fn thing(status: StatusCode, body: &[u8]) -> Result<Thing, ProcessorError> {
    let thing: Thing = serde_json::from_slice(body).unwrap_or_default();
    if thing.id.is_empty() {
        return Err(ProcessorError::Decide { status, kind: "unreadable".to_owned() });
    }
    Ok(thing)
}

/// Why the request was refused for good. A wrong key, a key that is in work, too many requests, a
/// key used for something else, and whatever went wrong on the other side: none of these says that
/// no money moved.
fn refusal(status: StatusCode, body: &[u8]) -> Result<Error, ProcessorError> {
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    let for_good = match status {
        StatusCode::PAYMENT_REQUIRED => error.r#type == "card_error",
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => error.r#type == "invalid_request_error",
        _ => false,
    };
    if for_good { Ok(error) } else { Err(ProcessorError::Decide { status, kind: error.r#type }) }
}

fn log_refusal(kind: &str, code: &str) {
    forward_sdk::tracing::info!(kind, code, "the processor refused");
}
