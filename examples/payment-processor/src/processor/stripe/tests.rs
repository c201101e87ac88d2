//! Stripe's side is a stand-in on the loopback that keeps what it was asked.

use std::sync::{Arc, Mutex};

use forward_sdk::axum::{
    Router,
    extract::{Request, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::payment::DeclineCode;

#[derive(Debug)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: String,
}

#[derive(Clone)]
struct StandIn {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: (u16, Value),
}

/// A client, and what its other side is asked; the answer is always the same.
async fn stripe(status: u16, answer: Value) -> (Stripe, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let stand_in = StandIn { asked: Arc::default(), answer: (status, answer) };
    let asked = stand_in.asked.clone();
    let router = Router::new().fallback(take).with_state(stand_in);
    tokio::spawn(forward_sdk::axum::serve(listener, router).into_future());
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    (Stripe::over(connector, &api, "sk_live_1"), asked)
}

async fn take(State(stand_in): State<StandIn>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let line = format!("{} {}", head.method, head.uri);
    stand_in.asked.lock().unwrap().push(Asked { line, headers: head.headers, body });
    let (status, answer) = stand_in.answer;
    (StatusCode::from_u16(status).unwrap(), answer.to_string())
}

const CHARGE: Charge<'_> =
    Charge { id: "pay_1", amount: 1999, currency: "USD", method: "pm_card_visa", description: Some("A & B") };
const REPAYMENT: Repayment<'_> = Repayment { id: "re_1", provider_id: "pi_1", amount: 500 };

#[tokio::test]
async fn charges_under_the_key_of_the_payment() {
    let (stripe, asked) = stripe(200, json!({"id": "pi_1", "status": "succeeded"})).await;
    let charged = stripe.charge(CHARGE).await.unwrap();
    assert_eq!(charged, Charged::Succeeded { provider_id: "pi_1".to_owned() });
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.line, "POST /v1/payment_intents");
    assert_eq!(asked.headers["idempotency-key"], "pay_1");
    assert_eq!(asked.headers["authorization"], "Bearer sk_live_1");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let expected = "amount=1999&currency=usd&payment_method=pm_card_visa&payment_method_types%5B%5D=card\
        &confirm=true&error_on_requires_action=true&metadata%5Bpayment_id%5D=pay_1&description=A%20%26%20B";
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn a_decline_has_its_reason() {
    let error = json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "payment_intent": {"id": "pi_1", "status": "requires_payment_method"}});
    let (stripe, _) = stripe(402, json!({"error": error})).await;
    let expected =
        Charged::Declined { provider_id: Some("pi_1".to_owned()), code: DeclineCode::InsufficientFunds };
    assert_eq!(stripe.charge(CHARGE).await.unwrap(), expected);
}

#[tokio::test]
async fn a_method_that_is_not_there_is_a_decline() {
    let (stripe, _) =
        stripe(400, json!({"error": {"type": "invalid_request_error", "code": "resource_missing"}})).await;
    let expected = Charged::Declined { provider_id: None, code: DeclineCode::CardDeclined };
    assert_eq!(stripe.charge(CHARGE).await.unwrap(), expected);
}

#[tokio::test]
async fn refunds_under_the_key_of_the_refund() {
    let (stripe, asked) = stripe(200, json!({"id": "re_9", "status": "pending"})).await;
    let repaid = stripe.refund(REPAYMENT).await.unwrap();
    assert_eq!(repaid, Repaid::Succeeded { provider_id: "re_9".to_owned() });
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.line.as_str(), &asked.headers["idempotency-key"]),
        ("POST /v1/refunds", &"re_1".parse().unwrap())
    );
    assert_eq!(asked.body, "payment_intent=pi_1&amount=500&metadata%5Brefund_id%5D=re_1");
}

#[tokio::test]
async fn a_refund_that_stripe_does_not_give_is_refused() {
    let (stripe, _) =
        stripe(400, json!({"error": {"type": "invalid_request_error", "code": "charge_already_refunded"}}))
            .await;
    assert_eq!(stripe.refund(REPAYMENT).await.unwrap(), Repaid::Refused);
}

#[tokio::test]
async fn what_does_not_say_that_money_stayed_is_no_decision() {
    let error = |kind: &str| json!({"error": {"type": kind}});
    for (status, answer) in [
        (200, json!({"id": "pi_1", "status": "processing"})),
        (200, json!({"status": "succeeded"})),
        (200, json!("succeeded")),
        (400, error("idempotency_error")),
        (400, json!("not from Stripe")),
        (401, error("invalid_request_error")),
        (402, json!("not from Stripe")),
        (409, error("idempotency_error")),
        (429, error("rate_limit_error")),
        (500, error("api_error")),
        (503, json!("")),
    ] {
        let (stripe, _) = stripe(status, answer.clone()).await;
        assert!(stripe.charge(CHARGE).await.is_err(), "{status} {answer}");
        assert!(stripe.refund(REPAYMENT).await.is_err() || status == 200, "{status} {answer}");
    }
}

#[tokio::test]
async fn is_healthy_while_the_key_works() {
    let (good, asked) = stripe(200, json!({"object": "balance"})).await;
    good.health().await.unwrap();
    assert_eq!(asked.lock().unwrap()[0].line, "GET /v1/balance");
    let (bad, _) = stripe(401, json!({"error": {"type": "invalid_request_error"}})).await;
    let error = bad.health().await.unwrap_err().to_string();
    assert_eq!(
        error,
        r#"get a decision from the processor: it answered 401 Unauthorized ("invalid_request_error")"#
    );
}

#[tokio::test]
async fn does_not_wait_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut stripe, _) = stripe(200, Value::Null).await;
    stripe.api = format!("http://{}", silent.local_addr().unwrap());
    stripe.timeout = Duration::from_millis(50);
    assert!(matches!(stripe.charge(CHARGE).await, Err(ProcessorError::Await(_))));
}

#[test]
fn knows_what_its_methods_look_like() {
    let stripe = Stripe::new("sk_live_1");
    assert!(stripe.accepts("pm_1MoBy5LkdIwHu7ix") && !stripe.accepts("card_ok") && !stripe.accepts("pm_/x"));
}
