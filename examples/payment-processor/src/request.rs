//! What is asked for, and whether it can be done at all. Nothing here knows of a database.

use forward_sdk::FieldError;
use serde::Deserialize;

use crate::config::Terms;

/// The longest name of a customer, a method or a reference, in characters.
const NAME: usize = 100;
/// The longest description or reason, in characters.
const TEXT: usize = 500;

/// A payment to take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentRequest {
    pub amount: i64,
    pub currency: String,
    pub method: String,
    pub customer_id: String,
    pub description: Option<String>,
    pub reference: Option<String>,
}

/// A refund to give. Without an amount, all that is left.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    pub amount: Option<i64>,
    pub reason: Option<String>,
}

impl PaymentRequest {
    /// All that is wrong with it. `accepts` tells which methods the processor knows.
    pub fn faults(&self, terms: &Terms, accepts: impl Fn(&str) -> bool) -> Vec<FieldError> {
        let Self { amount, currency, method, customer_id, description, reference } = self;
        let mut faults = Vec::new();
        let mut fault = |pointer, detail| faults.push(FieldError::new(pointer, detail));
        if *amount <= 0 {
            fault("#/amount", "must be above 0".to_owned());
        } else if *amount > terms.max_amount {
            fault("#/amount", format!("must be at most {}", terms.max_amount));
        }
        if currency != terms.currency.code() {
            fault("#/currency", format!("must be {}", terms.currency));
        }
        match check_text(method, 1, NAME) {
            Err(detail) => fault("#/method", detail),
            Ok(()) if !accepts(method) => {
                fault("#/method", "is not a payment method that the processor knows".to_owned());
            }
            Ok(()) => {}
        }
        let optional = |text: &Option<String>, least, most| {
            text.as_ref().map_or(Ok(()), |text| check_text(text, least, most))
        };
        let texts = [
            ("#/customer_id", check_text(customer_id, 1, NAME)),
            ("#/description", optional(description, 0, TEXT)),
            ("#/reference", optional(reference, 1, NAME)),
        ];
        for (pointer, checked) in texts {
            if let Err(detail) = checked {
                fault(pointer, detail);
            }
        }
        faults
    }
}

impl RefundRequest {
    /// All that is wrong with it whatever the payment is.
    pub fn faults(&self) -> Vec<FieldError> {
        let Self { amount, reason } = self;
        let mut faults = Vec::new();
        if amount.is_some_and(|amount| amount <= 0) {
            faults.push(FieldError::new("#/amount", "must be above 0"));
        }
        if let Some(Err(detail)) = reason.as_ref().map(|reason| check_text(reason, 0, TEXT)) {
            faults.push(FieldError::new("#/reason", detail));
        }
        faults
    }
}

/// Control characters are refused: nobody means them, and PostgreSQL cannot keep all of them.
pub fn check_text(text: &str, least: usize, most: usize) -> Result<(), String> {
    let length = text.chars().count();
    if !(least..=most).contains(&length) {
        return Err(format!("must have {least} to {most} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn request() -> PaymentRequest {
        PaymentRequest {
            amount: 1999,
            currency: "USD".to_owned(),
            method: "card_ok".to_owned(),
            customer_id: "cus_1".to_owned(),
            description: None,
            reference: None,
        }
    }

    fn faults(request: &PaymentRequest) -> Vec<String> {
        let terms = Terms { currency: Currency::usd(), max_amount: 5000, enable_refunds: true };
        let faults = request.faults(&terms, |method| method == "card_ok");
        faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn takes_what_is_within_the_terms() {
        for amount in [1, 1999, 5000] {
            assert_eq!(faults(&PaymentRequest { amount, ..request() }), [""; 0]);
        }
    }

    #[test]
    fn names_each_field_that_is_not() {
        let wrong = PaymentRequest {
            amount: 5001,
            currency: "EUR".to_owned(),
            method: "card_gold".to_owned(),
            customer_id: String::new(),
            description: Some("\0".to_owned()),
            reference: Some("r".repeat(101)),
        };
        let expected = [
            "#/amount must be at most 5000",
            "#/currency must be USD",
            "#/method is not a payment method that the processor knows",
            "#/customer_id must have 1 to 100 characters",
            "#/description must not have control characters",
            "#/reference must have 1 to 100 characters",
        ];
        assert_eq!(faults(&wrong), expected);
    }

    #[test]
    fn amounts_are_above_nothing() {
        for amount in [0, -1, i64::MIN] {
            assert_eq!(faults(&PaymentRequest { amount, ..request() }), ["#/amount must be above 0"]);
            assert_eq!(RefundRequest { amount: Some(amount), reason: None }.faults().len(), 1);
        }
    }
}
