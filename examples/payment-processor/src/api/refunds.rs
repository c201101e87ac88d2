//! Refunds: giving a payment back, or some of it.

use std::sync::Arc;

use forward_sdk::{
    Json, Problem,
    axum::{
        extract::{Path, State},
        http::{HeaderMap, StatusCode},
    },
};

use super::{error::no_payment, replayed};
use crate::{
    cashier::Done,
    id::{self, is_id},
    idempotency::IdempotencyKey,
    payment::RefundView,
    plugin::PaymentProcessor,
    request::RefundRequest,
};

/// `POST /api/payments/:id/refund`
pub async fn refund(
    State(plugin): State<Arc<PaymentProcessor>>,
    Path(id): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<RefundRequest>,
) -> Result<(StatusCode, HeaderMap, Json<RefundView>), Problem> {
    if !plugin.cashier.terms.enable_refunds {
        let problem = Problem::new(StatusCode::FORBIDDEN, "refunds are switched off");
        return Err(problem.code("refunds_disabled"));
    }
    let faults = request.faults();
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    if !is_id(id::PAYMENT, &id) {
        return Err(no_payment());
    }
    let Done { value, replayed: was_there } = plugin.cashier.give_back(&id, key.as_deref(), &request).await?;
    Ok((StatusCode::CREATED, replayed(was_there), Json(value.into())))
}
