//! An order, and how it is shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    outcome::{Reason, Refusal},
    step::Step,
};

/// An order as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    pub step: Step,
    pub customer_id: String,
    pub payment_method: String,
    pub items: Vec<Item>,
    /// What it costs, once that was asked: an amount in minor units.
    pub total: Option<i64>,
    pub currency: Option<String>,
    pub payment_id: Option<String>,
    pub refusal: Option<Refusal>,
    /// How often the call of its step has ended in the unknown.
    pub attempts: u32,
    pub tracked: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// So many of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub sku: String,
    pub quantity: i64,
    /// Of one of them, in minor units, once that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<i64>,
}

/// An order as customers see it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    id: &'a str,
    status: &'static str,
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    customer_id: &'a str,
    items: &'a [Item],
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<&'a str>,
    reservation_id: &'a str,
    tracked: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Order {
    pub fn shown(&self) -> Shown<'_> {
        Shown {
            id: &self.id,
            status: self.step.status(),
            step: self.step.name(),
            reason: self.reason().map(Reason::name),
            customer_id: &self.customer_id,
            items: &self.items,
            total: self.total,
            currency: self.currency.as_deref(),
            payment_id: self.payment_id.as_deref(),
            reservation_id: &self.id,
            tracked: self.tracked,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Why it was given up, if it was.
    pub fn reason(&self) -> Option<Reason> {
        self.refusal.as_ref().map(|refusal| refusal.reason)
    }
}

#[cfg(test)]
impl Order {
    /// An order of 2 `pen` at 3.50 for the tests: it has been checked.
    pub fn example(step: Step) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self {
            id: "ord_1".to_owned(),
            step,
            customer_id: "ada".to_owned(),
            payment_method: "card_ok".to_owned(),
            items: vec![Item { sku: "pen".to_owned(), quantity: 2, price: Some(350) }],
            total: Some(700),
            currency: Some("USD".to_owned()),
            payment_id: None,
            refusal: None,
            attempts: 0,
            tracked: false,
            created_at: now,
            updated_at: now,
        }
    }
}
