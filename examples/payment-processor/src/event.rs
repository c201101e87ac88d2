//! What the processor tells: the events of Stripe that concern a payment, and what each of them
//! means for our record.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    id::{self, is_id},
    payment::DeclineCode,
    request::check_text,
};

/// The longest id of an event or of anything of the processor's, in characters.
const LONGEST_ID: usize = 255;

/// An event, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub news: News,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Succeeded(Subject),
    Declined(Subject, DeclineCode),
    /// So much of it is refunded by now, whoever asked for it.
    Refunded(Subject, i64),
    /// Nothing that we keep a record of.
    Other,
}

/// The payment that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What the processor calls it.
    pub provider_id: String,
    /// Our id, which the processor was given with the charge.
    pub payment_id: Option<String>,
}

/// A signed message that is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is not an event")]
pub struct ReadEventError;

#[derive(Deserialize)]
struct Envelope {
    id: String,
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

impl Event {
    /// Reads an event from a message whose signature was verified.
    ///
    /// # Errors
    /// When it is no event, or one of those that concern us does not say of which payment.
    pub fn read(body: &[u8]) -> Result<Self, ReadEventError> {
        let Envelope { id, r#type, data } = serde_json::from_slice(body).map_err(|_| ReadEventError)?;
        check_text(&id, 1, LONGEST_ID).map_err(|_| ReadEventError)?;
        let Data { object } = data;
        let news = match r#type.as_str() {
            "payment_intent.succeeded" => News::Succeeded(subject(&object, "/id")?),
            "payment_intent.payment_failed" => {
                let code = ["/last_payment_error/decline_code", "/last_payment_error/code"]
                    .iter()
                    .find_map(|pointer| object.pointer(pointer)?.as_str());
                let code = DeclineCode::from_name(code.unwrap_or_default());
                News::Declined(subject(&object, "/id")?, code)
            }
            "charge.refunded" => {
                let refunded = object["amount_refunded"].as_i64().filter(|amount| *amount >= 0);
                News::Refunded(subject(&object, "/payment_intent")?, refunded.ok_or(ReadEventError)?)
            }
            _ => News::Other,
        };
        Ok(Self { id, news })
    }
}

fn subject(object: &Value, pointer: &str) -> Result<Subject, ReadEventError> {
    let provider_id = object.pointer(pointer).and_then(Value::as_str).ok_or(ReadEventError)?;
    check_text(provider_id, 1, LONGEST_ID).map_err(|_| ReadEventError)?;
    let payment_id = object.pointer("/metadata/payment_id").and_then(Value::as_str);
    let payment_id = payment_id.filter(|text| is_id(id::PAYMENT, text));
    Ok(Subject { provider_id: provider_id.to_owned(), payment_id: payment_id.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, object: &Value) -> Result<News, ReadEventError> {
        let event = json!({"id": "evt_1", "type": kind, "data": {"object": object}});
        Event::read(event.to_string().as_bytes()).map(|event| event.news)
    }

    fn subject() -> Subject {
        Subject { provider_id: "pi_1".to_owned(), payment_id: None }
    }

    #[test]
    fn tells_the_events_that_concern_us() {
        let payment_id = id::new(id::PAYMENT);
        let intent = json!({"id": "pi_1", "metadata": {"payment_id": payment_id}});
        let ours = Subject { payment_id: Some(payment_id), ..subject() };
        assert_eq!(read("payment_intent.succeeded", &intent), Ok(News::Succeeded(ours)));

        let failed = json!({"id": "pi_1", "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"}});
        let declined = News::Declined(subject(), DeclineCode::InsufficientFunds);
        assert_eq!(read("payment_intent.payment_failed", &failed), Ok(declined));

        let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 500});
        assert_eq!(read("charge.refunded", &charge), Ok(News::Refunded(subject(), 500)));
        assert_eq!(read("customer.created", &json!({})), Ok(News::Other));
    }

    #[test]
    fn refuses_events_that_do_not_say_enough() {
        assert_eq!(read("payment_intent.succeeded", &json!({})), Err(ReadEventError));
        assert_eq!(read("payment_intent.succeeded", &json!({"id": "\0"})), Err(ReadEventError));
        let charge = json!({"payment_intent": "pi_1", "amount_refunded": -1});
        assert_eq!(read("charge.refunded", &charge), Err(ReadEventError));
        for body in ["", "[]", r#"{"id": "evt_1"}"#, r#"{"id": "", "type": "", "data": {"object": {}}}"#] {
            assert_eq!(Event::read(body.as_bytes()), Err(ReadEventError), "{body}");
        }
    }
}
