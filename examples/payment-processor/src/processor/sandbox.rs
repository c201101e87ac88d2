//! A processor that moves no money. What becomes of a charge is told by its method, and what it is
//! called by its key: the same charge is the same answer, in whichever pod and after whichever crash.

use futures::future::{BoxFuture, FutureExt, ready};
use sha2::{Digest, Sha256};

use super::{Charge, Charged, Processor, ProcessorError, Repaid, Repayment};
use crate::payment::DeclineCode;

const METHODS: [&str; 3] = ["card_ok", "card_declined", "card_insufficient_funds"];

#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

impl Processor for Sandbox {
    fn accepts(&self, method: &str) -> bool {
        METHODS.contains(&method)
    }

    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<Charged, ProcessorError>> {
        ready(Ok(decide(charge))).boxed()
    }

    fn refund<'a>(&'a self, repayment: Repayment<'a>) -> BoxFuture<'a, Result<Repaid, ProcessorError>> {
        ready(Ok(Repaid::Succeeded { provider_id: provider_id("re_test_", repayment.id) })).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProcessorError>> {
        ready(Ok(())).boxed()
    }
}

fn decide(charge: Charge<'_>) -> Charged {
    let provider_id = provider_id("pi_test_", charge.id);
    match charge.method {
        "card_ok" => Charged::Succeeded { provider_id },
        method => {
            let code = DeclineCode::from_name(method.trim_start_matches("card_"));
            Charged::Declined { provider_id: Some(provider_id), code }
        }
    }
}

fn provider_id(kind: &str, key: &str) -> String {
    let digest = Sha256::digest(key);
    let digits = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
    digits.fold(kind.to_owned(), |id, digits| id + &digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(id: &'static str, method: &'static str) -> Charged {
        decide(Charge { id, amount: 1999, currency: "USD", method, description: None })
    }

    #[test]
    fn the_method_decides() {
        assert!(matches!(charge("pay_1", "card_ok"), Charged::Succeeded { .. }));
        let code = |method| match charge("pay_1", method) {
            Charged::Declined { code, .. } => Some(code),
            Charged::Succeeded { .. } => None,
        };
        assert_eq!(code("card_declined"), Some(DeclineCode::CardDeclined));
        assert_eq!(code("card_insufficient_funds"), Some(DeclineCode::InsufficientFunds));
    }

    #[test]
    fn one_key_is_one_charge() {
        assert_eq!(charge("pay_1", "card_ok"), charge("pay_1", "card_ok"));
        assert_ne!(charge("pay_1", "card_ok"), charge("pay_2", "card_ok"));
    }

    #[test]
    fn knows_its_own_methods_only() {
        assert!(METHODS.iter().all(|method| Sandbox.accepts(method)));
        assert!(!Sandbox.accepts("pm_card_visa") && !Sandbox.accepts(""));
    }
}
