//! What went wrong, as answers.

use forward_sdk::{
    Problem,
    axum::http::{HeaderValue, StatusCode, header},
    chain, tracing,
};

use crate::{cashier::CashError, refund::RefuseRefund};

impl From<CashError> for Problem {
    fn from(error: CashError) -> Self {
        match error {
            CashError::UseLedger(error) => example_database::problem(&error),
            CashError::AskProcessor { ref id, .. } => {
                tracing::warn!(id, error = chain(&error), "the processor did not decide");
                let detail = "it is not known yet what became of the money; ask again with the same \
                    Idempotency-Key, or look later";
                retry_after(Self::new(StatusCode::SERVICE_UNAVAILABLE, detail), "10")
                    .code("processor_unavailable")
                    .with("id", id.as_str())
            }
            CashError::ReuseKey => {
                let detail = "the Idempotency-Key was used before for a different request";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).code("idempotency_key_reused")
            }
            CashError::UseKeyTwice => {
                let detail = "a request with this Idempotency-Key is still in work";
                retry_after(Self::new(StatusCode::CONFLICT, detail), "1").code("idempotency_key_in_use")
            }
            CashError::FindPayment => no_payment(),
            CashError::RefuseRefund(refused) => refused.into(),
            CashError::RefusedByProcessor => {
                let detail = "the processor does not give this refund";
                Self::new(StatusCode::CONFLICT, detail).code("refund_refused")
            }
        }
    }
}

impl From<RefuseRefund> for Problem {
    fn from(refused: RefuseRefund) -> Self {
        let conflict = Self::new(StatusCode::CONFLICT, refused.to_string());
        match refused {
            RefuseRefund::Pending => retry_after(conflict, "5").code("payment_pending"),
            RefuseRefund::Nothing => conflict.code("nothing_to_refund"),
            RefuseRefund::TooMuch { .. } => {
                Self::invalid([forward_sdk::FieldError::new("#/amount", refused.to_string())])
            }
        }
    }
}

pub fn no_payment() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such payment")
}

fn retry_after(problem: Problem, seconds: &'static str) -> Problem {
    problem.header(header::RETRY_AFTER, HeaderValue::from_static(seconds))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forward_sdk::axum::response::IntoResponse;

    use super::*;
    use crate::processor::ProcessorError;

    #[test]
    fn without_a_decision_whoever_asked_may_ask_again() {
        let source = ProcessorError::Await(Duration::from_secs(8));
        let problem = Problem::from(CashError::AskProcessor { id: "pay_1".to_owned(), source });
        let answer = problem.into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "10");
    }
}
