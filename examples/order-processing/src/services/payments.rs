//! The payment of an order: its charge and its refund.
//!
//! The keys of both are the order's own. The charge's body stands fast before it is sent the first
//! time, so that every repetition is the same request and gets the same answer.

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::{
    order::Order,
    outcome::{Answer, Reason, Unclear},
    services::{reach::Service, reply::Reply},
};

#[derive(Clone, Debug)]
pub struct Payments {
    service: Service,
}

#[derive(Debug, Deserialize)]
struct Payment {
    id: String,
    status: String,
}

/// A declined payment's problem.
#[derive(Debug, Deserialize)]
struct Declined {
    detail: String,
    payment: Payment,
}

#[derive(Debug, Deserialize)]
struct Found {
    items: Vec<Payment>,
}

impl Payments {
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Charges the total.
    pub async fn charge(&self, order: &Order) -> Result<Answer, Unclear> {
        let body = json!({
            "amount": order.total,
            "currency": order.currency,
            "method": order.payment_method,
            "customer_id": order.customer_id,
            "description": format!("Order {}", order.id),
            "reference": order.id,
        });
        let key = format!("{}-charge", order.id);
        let reply = self.service.post("/api/payments/process", Some(&key), &body).await?;
        if is_invalid(&reply) {
            // It may have been made all the same, by an earlier try, before the settings of the payment
            // processor changed. So the refusal is believed only if there is no payment.
            let path = format!("/api/payments?reference={}&status=succeeded", order.id);
            return read_found(&self.service.get(&path).await?, &reply);
        }
        read_charge(&reply)
    }

    /// Gives back all that is left of the payment.
    pub async fn refund(&self, order: &Order) -> Result<Answer, Unclear> {
        let missing = || Unclear("the journal has no payment of the order".to_owned());
        let payment = order.payment_id.as_ref().ok_or_else(missing)?;
        let (path, key) = (format!("/api/payments/{payment}/refund"), format!("{}-refund", order.id));
        let body = json!({"reason": order.reason().map(Reason::name)});
        read_refund(&self.service.post(&path, Some(&key), &body).await?)
    }
}

/// Whether a charge was refused as one that cannot be made. A key that was used for another body is
/// nothing that a refusal may be built upon: that payment may be ours.
fn is_invalid(reply: &Reply) -> bool {
    reply.status == StatusCode::UNPROCESSABLE_ENTITY && reply.problem().code != "idempotency_key_reused"
}

fn read_charge(reply: &Reply) -> Result<Answer, Unclear> {
    match reply.status {
        StatusCode::CREATED => {
            let Payment { id, status } = reply.read()?;
            match status.as_str() {
                "succeeded" => Ok(Answer::done().with_payment(id)),
                _ => Err(Unclear(format!("the payment {id:?} is {status:?}"))),
            }
        }
        StatusCode::PAYMENT_REQUIRED => {
            let Declined { detail, payment } = reply.read()?;
            Ok(Answer::refused(Reason::PaymentDeclined, detail).with_payment(payment.id))
        }
        _ => Err(reply.says_nothing()),
    }
}

/// What a refused charge means, by the payments that there are of the order.
fn read_found(found: &Reply, refused: &Reply) -> Result<Answer, Unclear> {
    if found.status != StatusCode::OK {
        return Err(found.says_nothing());
    }
    let Found { items } = found.read()?;
    Ok(match items.into_iter().next() {
        Some(Payment { id, .. }) => Answer::done().with_payment(id),
        None => refused.problem().refusal(Reason::PaymentRefused, |pointer| match pointer {
            "#/method" => Some("#/payment_method".to_owned()),
            "#/customer_id" => Some(pointer.to_owned()),
            _ => None,
        }),
    })
}

fn read_refund(reply: &Reply) -> Result<Answer, Unclear> {
    match reply.status {
        StatusCode::CREATED => Ok(Answer::done()),
        StatusCode::CONFLICT if reply.problem().code == "nothing_to_refund" => Ok(Answer::done()),
        _ => Err(reply.says_nothing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Blame, Outcome, Refusal};

    fn charged(status: u16, body: serde_json::Value) -> Result<Answer, Unclear> {
        read_charge(&Reply::example(status, &body))
    }

    #[test]
    fn a_charge_is_made_or_declined_only_where_the_answer_says_so() {
        let made = charged(201, json!({"id": "pay_1", "status": "succeeded", "amount": 700}));
        assert_eq!(made, Ok(Answer::done().with_payment("pay_1".to_owned())));
        let declined = json!({"detail": "no", "payment": {"id": "pay_2", "status": "declined"}});
        let refused = Answer::refused(Reason::PaymentDeclined, "no").with_payment("pay_2".to_owned());
        assert_eq!(charged(402, declined), Ok(refused));
        let unclear = [
            (201, json!({})),
            (201, json!({"id": "pay_1", "status": "new"})),
            (402, json!({})),
            (409, json!({"code": "idempotency_key_in_use"})),
            (401, json!({})),
            (404, json!({})),
            (500, json!({})),
        ];
        for (status, body) in unclear {
            assert!(charged(status, body).is_err(), "{status}");
        }
    }

    #[test]
    fn a_key_that_was_used_otherwise_is_no_refusal() {
        assert!(is_invalid(&Reply::example(422, &json!({"errors": []}))));
        assert!(!is_invalid(&Reply::example(422, &json!({"code": "idempotency_key_reused"}))));
    }

    #[test]
    fn an_invalid_charge_is_believed_only_without_a_payment() {
        let errors =
            json!([{"pointer": "#/method", "detail": "unknown"}, {"pointer": "#/amount", "detail": "high"}]);
        let refused = Reply::example(422, &json!({"detail": "no", "errors": errors}));
        let paid = Reply::example(200, &json!({"items": [{"id": "pay_1", "status": "succeeded"}]}));
        assert_eq!(read_found(&paid, &refused), Ok(Answer::done().with_payment("pay_1".to_owned())));
        let blame = Blame { pointer: "#/payment_method".to_owned(), detail: "unknown".to_owned() };
        let refusal = Refusal::new(Reason::PaymentRefused, "no").blaming(vec![blame]);
        let none = Reply::example(200, &json!({"items": []}));
        assert_eq!(read_found(&none, &refused), Ok(Outcome::Refused(refusal).into()));
    }

    #[test]
    fn a_refund_is_made_or_tried_again() {
        let refunded = |status, code: &str| read_refund(&Reply::example(status, &json!({"code": code})));
        assert_eq!(refunded(201, ""), Ok(Answer::done()));
        assert_eq!(refunded(409, "nothing_to_refund"), Ok(Answer::done()));
        for (status, code) in
            [(403, "refunds_disabled"), (404, ""), (409, "idempotency_key_in_use"), (503, "")]
        {
            assert!(refunded(status, code).is_err(), "{status} {code}");
        }
    }
}
