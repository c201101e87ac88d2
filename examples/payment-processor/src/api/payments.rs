//! Payments: taking one, showing one, listing them.

use std::sync::Arc;

use example_database::{Limit, Page};
use forward_sdk::{
    Json, Problem,
    axum::{
        extract::{Path, Query, State, rejection::QueryRejection},
        http::{HeaderMap, StatusCode},
    },
};
use serde::Deserialize;
use serde_json::json;

use super::{error::no_payment, replayed};
use crate::{
    cashier::Done,
    id::{self, is_id},
    idempotency::IdempotencyKey,
    ledger::Filter,
    payment::{Payment, PaymentView, Status},
    plugin::PaymentProcessor,
    request::{PaymentRequest, check_text},
};

/// Which payments are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    reference: Option<String>,
    status: Option<Status>,
    after: Option<String>,
    limit: Option<i64>,
}

/// `POST /api/payments/process`
pub async fn process(
    State(plugin): State<Arc<PaymentProcessor>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<PaymentRequest>,
) -> Result<(StatusCode, HeaderMap, Json<PaymentView>), Problem> {
    let cashier = &plugin.cashier;
    let faults = request.faults(&cashier.terms, |method| cashier.processor.accepts(method));
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let Done { value, replayed: was_there } = cashier.take(key.as_deref(), &request).await?;
    let headers = replayed(was_there);
    match value.decline_code {
        None => Ok((StatusCode::CREATED, headers, Json(value.view_at_first()))),
        Some(code) => {
            let problem = Problem::new(StatusCode::PAYMENT_REQUIRED, "the payment was declined");
            let problem = problem.code(code.as_str()).with("payment", json!(value.view_at_first()));
            Err(headers
                .iter()
                .fold(problem, |problem, (name, value)| problem.header(name.clone(), value.clone())))
        }
    }
}

/// `GET /api/payments/:id`
pub async fn show(
    State(plugin): State<Arc<PaymentProcessor>>,
    Path(id): Path<String>,
) -> Result<Json<PaymentView>, Problem> {
    if !is_id(id::PAYMENT, &id) {
        return Err(no_payment());
    }
    let payment =
        plugin.cashier.ledger.payment(&id).await.map_err(|error| example_database::problem(&error))?;
    let mut views = views(&plugin, vec![payment.ok_or_else(no_payment)?]).await?;
    views.pop().map(Json).ok_or_else(no_payment)
}

/// `GET /api/payments`
pub async fn list(
    State(plugin): State<Arc<PaymentProcessor>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<PaymentView>>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(rejection.body_text()))?;
    let filter = check(query)?;
    let payments = plugin.cashier.ledger.payments(&filter).await;
    let payments = payments.map_err(|error| example_database::problem(&error))?;
    let Page { items, next } = filter.limit.page(payments, |payment| payment.id.clone());
    Ok(Json(Page { items: views(&plugin, items).await?, next }))
}

fn check(query: ListQuery) -> Result<Filter, Problem> {
    let ListQuery { reference, status, after, limit } = query;
    let limit = Limit::new(limit).ok_or_else(|| bad_query(format!("limit must be 1 to {}", Limit::MOST)))?;
    if after.as_ref().is_some_and(|after| !is_id(id::PAYMENT, after)) {
        return Err(bad_query("after must be what a list gave as next".to_owned()));
    }
    if let Some(Err(detail)) = reference.as_ref().map(|reference| check_text(reference, 1, 100)) {
        return Err(bad_query(format!("reference {detail}")));
    }
    Ok(Filter { reference, status, after, limit })
}

fn bad_query(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

async fn views(plugin: &PaymentProcessor, payments: Vec<Payment>) -> Result<Vec<PaymentView>, Problem> {
    let ids: Vec<_> = payments.iter().filter(|one| one.refunded > 0).map(|one| one.id.clone()).collect();
    let refunds = match ids.is_empty() {
        true => Vec::new(),
        false => {
            let refunds = plugin.cashier.ledger.refunds(&ids).await;
            refunds.map_err(|error| example_database::problem(&error))?
        }
    };
    Ok(payments.into_iter().map(|payment| payment.view(&refunds)).collect())
}
