//! How a call ended, as far as an order's way is concerned.

use serde::{Deserialize, Serialize};

use crate::order::Item;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is so now, by this call or an earlier one.
    Done,
    /// It is not so and will not be, however often it is asked for.
    Refused(Refusal),
    /// It may be so or not: no answer, or one that says nothing. The text is for the log.
    Unknown(String),
}

/// Why an order is given up. It is kept with the order and told to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Refusal {
    pub reason: Reason,
    pub detail: String,
    /// Which places of the order are to blame.
    pub errors: Vec<Blame>,
}

/// One place of an order that is to blame, as in a problem's `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Blame {
    pub pointer: String,
    pub detail: String,
}

/// What programs tell refusals by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The inventory does not know what is ordered.
    ItemsRefused,
    InsufficientStock,
    /// The customer's bank said no.
    PaymentDeclined,
    /// The payment is none that can be made, for example by its method.
    PaymentRefused,
    /// The reservation ran out before it could be made final.
    ReservationLost,
}

/// What an answer tells besides: it is written down with the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    pub quote: Option<Quote>,
    pub payment_id: Option<String>,
}

/// What the order costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The order's items, each with its price.
    pub items: Vec<Item>,
    pub total: i64,
    pub currency: String,
}

/// The answer of another plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    pub learnt: Learnt,
}

impl Answer {
    pub fn done() -> Self {
        Outcome::Done.into()
    }

    pub fn refused(reason: Reason, detail: impl Into<String>) -> Self {
        Outcome::Refused(Refusal::new(reason, detail)).into()
    }

    pub fn with_payment(mut self, id: String) -> Self {
        self.learnt.payment_id = Some(id);
        self
    }
}

/// A call of which nobody knows what became: no answer, or one that says nothing. The text is for the
/// log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(pub String);

impl From<Unclear> for Answer {
    fn from(Unclear(why): Unclear) -> Self {
        Outcome::Unknown(why).into()
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, learnt: Learnt::default() }
    }
}

impl Outcome {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Done | Self::Unknown(_) => None,
        }
    }
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), errors: Vec::new() }
    }

    pub fn blaming(self, errors: Vec<Blame>) -> Self {
        Self { errors, ..self }
    }
}

impl Reason {
    /// Its name in answers and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ItemsRefused => "items_refused",
            Self::InsufficientStock => "insufficient_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::PaymentRefused => "payment_refused",
            Self::ReservationLost => "reservation_lost",
        }
    }
}
