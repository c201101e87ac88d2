//! An order as the answer to whoever placed it.

use forward_sdk::{
    Json, Problem,
    axum::{
        http::{HeaderName, HeaderValue, StatusCode, header},
        response::{IntoResponse, Response},
    },
};
use serde_json::json;

use crate::{
    order::Order,
    outcome::{Reason, Refusal},
    step::Step,
};

/// When it is worth asking again for an order that is pending.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The answer: made (201), under way (202), or why there is none.
pub fn of(order: &Order, replayed: bool) -> Response {
    let mut response = match (order.step, &order.refusal) {
        (Step::Completed, _) => (StatusCode::CREATED, Json(order.shown())).into_response(),
        (Step::Rejected, Some(refusal)) => refused(order, refusal).into_response(),
        _ => {
            (StatusCode::ACCEPTED, [(header::RETRY_AFTER, RETRY_AFTER)], Json(order.shown())).into_response()
        }
    };
    let place = HeaderValue::try_from(format!("/api/orders/{}", order.id));
    response.headers_mut().insert(header::LOCATION, place.expect("an order's id is letters and digits"));
    if replayed {
        let name = HeaderName::from_static("idempotency-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

fn refused(order: &Order, refusal: &Refusal) -> Problem {
    let Refusal { reason, detail, errors } = refusal;
    let problem =
        Problem::new(status(*reason), detail).code(reason.name()).with("order", json!(order.shown()));
    errors.iter().fold(problem, |problem, blame| problem.error(&blame.pointer, &blame.detail))
}

fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::PaymentDeclined => StatusCode::PAYMENT_REQUIRED,
        Reason::InsufficientStock | Reason::ReservationLost => StatusCode::CONFLICT,
        Reason::ItemsRefused | Reason::PaymentRefused => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_it_stands() {
        let status = |step, reason: Option<Reason>| {
            let refusal = reason.map(|reason| Refusal::new(reason, "no"));
            of(&Order { refusal, ..Order::example(step) }, false).status().as_u16()
        };
        assert_eq!(status(Step::Completed, None), 201);
        for step in [Step::Checking, Step::Charging, Step::Reserving, Step::Committing] {
            assert_eq!(status(step, None), 202);
        }
        // It is not over before the money is back.
        assert_eq!(status(Step::Refunding, Some(Reason::InsufficientStock)), 202);
        assert_eq!(status(Step::Rejected, Some(Reason::InsufficientStock)), 409);
        assert_eq!(status(Step::Rejected, Some(Reason::PaymentDeclined)), 402);
        assert_eq!(status(Step::Rejected, Some(Reason::ItemsRefused)), 422);
    }

    #[test]
    fn every_answer_says_where_the_order_is() {
        for step in Step::ALL {
            let response = of(&Order::example(step), true);
            assert_eq!(response.headers()[header::LOCATION], "/api/orders/ord_1");
            assert_eq!(response.headers()["idempotency-replayed"], "true");
        }
    }
}
