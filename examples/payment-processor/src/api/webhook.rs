//! Events: what the processor tells without being asked. The body is looked into only when its
//! signature was found to be the processor's.

use std::sync::Arc;

use bytes::Bytes;
use forward_sdk::{
    Json, Problem,
    axum::{
        extract::State,
        http::{HeaderMap, StatusCode},
    },
    tracing,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    config::Webhook,
    event::{Event, ReadEventError},
    ledger::Received,
    plugin::PaymentProcessor,
    signature::{RefuseSignature, verify},
};

const SIGNATURE: &str = "stripe-signature";

#[derive(Debug, Serialize)]
pub struct Receipt {
    received: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
enum RefuseMessage {
    #[error(transparent)]
    Signature(#[from] RefuseSignature),
    #[error(transparent)]
    Read(#[from] ReadEventError),
    #[error("the message was there before")]
    Replayed,
    #[error("use the ledger")]
    UseLedger(#[from] sqlx::Error),
}

/// `POST /api/payments/webhook`
pub async fn webhook(
    State(plugin): State<Arc<PaymentProcessor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Receipt>, Problem> {
    let taken = take(&plugin, &headers, &body).await;
    let result = match &taken {
        Ok(Received::Changed(_)) => "changed",
        Ok(Received::Ignored) => "ignored",
        Ok(Received::Duplicate) => "duplicate",
        Ok(Received::Replayed) | Err(RefuseMessage::Replayed) => "replayed",
        Err(RefuseMessage::Signature(RefuseSignature::Missing)) => "signature_missing",
        Err(RefuseMessage::Signature(RefuseSignature::Malformed)) => "signature_malformed",
        Err(RefuseMessage::Signature(RefuseSignature::Mismatch)) => "signature_mismatch",
        Err(RefuseMessage::Signature(RefuseSignature::Stale)) => "signature_stale",
        Err(RefuseMessage::Read(_)) => "unreadable",
        Err(RefuseMessage::UseLedger(_)) => "failed",
    };
    plugin.cashier.metrics.count_webhook(result);
    match taken {
        Ok(received) => Ok(Json(Receipt { received: true, duplicate: received == Received::Duplicate })),
        Err(refused) => {
            tracing::warn!(result, "a message was not taken");
            Err(refused.into())
        }
    }
}

async fn take(
    plugin: &PaymentProcessor,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Received, RefuseMessage> {
    let Webhook { secret, tolerance } = &plugin.webhook;
    let header = headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default());
    let mark = verify(header, body, secret, *tolerance, Timestamp::now())?;
    let event = Event::read(body)?;
    match plugin.cashier.hear(&event, &mark).await? {
        Received::Replayed => Err(RefuseMessage::Replayed),
        received => {
            tracing::info!(event = event.id, received = ?received, "event received");
            Ok(received)
        }
    }
}

impl From<RefuseMessage> for Problem {
    fn from(refused: RefuseMessage) -> Self {
        match refused {
            // Only who knows the secret gets this far.
            RefuseMessage::Signature(RefuseSignature::Stale) => {
                Self::new(StatusCode::UNAUTHORIZED, "the signature is too old or from the future")
                    .code("signature_stale")
            }
            RefuseMessage::Signature(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "the message is not signed as it should be")
            }
            RefuseMessage::Read(_) => Self::new(StatusCode::BAD_REQUEST, "the message is not an event"),
            RefuseMessage::Replayed => {
                Self::new(StatusCode::CONFLICT, "the message was there before").code("webhook_replayed")
            }
            RefuseMessage::UseLedger(error) => example_database::problem(&error),
        }
    }
}
