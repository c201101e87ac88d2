//! Payments and refunds as they are recorded, and as they are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::request::{PaymentRequest, RefundRequest};

/// How far a payment is. It moves forward only: a processor may yet take what it declined first,
/// and nothing that was taken becomes anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is written down; what the processor did is not known yet.
    Pending,
    Declined,
    Succeeded,
}

/// Why a payment was declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineCode {
    CardDeclined,
    InsufficientFunds,
}

/// A payment, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub id: String,
    pub status: Status,
    pub amount: i64,
    pub currency: String,
    pub method: String,
    pub customer_id: String,
    pub description: Option<String>,
    pub reference: Option<String>,
    /// What was given back, and what is on its way back.
    pub refunded: i64,
    pub decline_code: Option<DeclineCode>,
    /// What the processor calls it.
    pub provider_id: Option<String>,
    pub created_at: Timestamp,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundStatus {
    /// Its amount is set aside; what the processor did is not known yet.
    Pending,
    Succeeded,
    /// The processor does not give it; its amount can be given back otherwise.
    Refused,
}

/// A refund, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub id: String,
    pub payment_id: String,
    pub status: RefundStatus,
    pub amount: i64,
    pub currency: String,
    /// What the processor calls the payment.
    pub charge_id: Option<String>,
    /// The amount that was asked for, if one was.
    pub requested: Option<i64>,
    pub reason: Option<String>,
    pub created_at: Timestamp,
}

/// A payment as it is told, with the refunds that were not refused.
#[derive(Clone, Debug, Serialize)]
pub struct PaymentView {
    id: String,
    status: Status,
    amount: i64,
    currency: String,
    method: String,
    customer_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    refunded: i64,
    refunds: Vec<PartView>,
    created_at: Timestamp,
}

/// A refund as it is told within its payment.
#[derive(Clone, Debug, Serialize)]
struct PartView {
    id: String,
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: Timestamp,
}

/// A refund as it is told by itself.
#[derive(Clone, Debug, Serialize)]
pub struct RefundView {
    id: String,
    payment_id: String,
    amount: i64,
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: Timestamp,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Declined => "declined",
            Self::Succeeded => "succeeded",
        }
    }
}

impl RefundStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
        }
    }
}

impl DeclineCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CardDeclined => "card_declined",
            Self::InsufficientFunds => "insufficient_funds",
        }
    }

    /// The code that the ledger or the processor names; one that is not ours is a card that was
    /// declined.
    pub fn from_name(name: &str) -> Self {
        if name == "insufficient_funds" { Self::InsufficientFunds } else { Self::CardDeclined }
    }
}

impl Payment {
    /// Whether it is what was asked for.
    pub fn answers(&self, request: &PaymentRequest) -> bool {
        let PaymentRequest { amount, currency, method, customer_id, description, reference } = request;
        self.amount == *amount
            && self.currency == *currency
            && self.method == *method
            && self.customer_id == *customer_id
            && self.description == *description
            && self.reference == *reference
    }

    /// As it is told, with its refunds.
    pub fn view<'a>(self, refunds: impl IntoIterator<Item = &'a Refund>) -> PaymentView {
        let parts = refunds.into_iter().filter(|refund| refund.payment_id == self.id);
        let refunds = parts.map(Refund::part).collect();
        let Self { id, status, amount, currency, method, customer_id, description, reference, .. } = self;
        PaymentView {
            id,
            status,
            amount,
            currency,
            method,
            customer_id,
            description,
            reference,
            refunded: self.refunded,
            refunds,
            created_at: self.created_at,
        }
    }

    /// As it was told when it was taken: before any refund.
    pub fn view_at_first(self) -> PaymentView {
        Self { refunded: 0, ..self }.view([])
    }
}

impl Refund {
    /// Whether it is what was asked for.
    pub fn answers(&self, payment_id: &str, request: &RefundRequest) -> bool {
        let RefundRequest { amount, reason } = request;
        self.payment_id == payment_id && self.requested == *amount && self.reason == *reason
    }

    fn part(&self) -> PartView {
        let Self { id, amount, reason, created_at, .. } = self;
        PartView { id: id.clone(), amount: *amount, reason: reason.clone(), created_at: *created_at }
    }
}

impl From<Refund> for RefundView {
    fn from(refund: Refund) -> Self {
        let Refund { id, payment_id, amount, currency, reason, created_at, .. } = refund;
        Self { id, payment_id, amount, currency, reason, created_at }
    }
}
