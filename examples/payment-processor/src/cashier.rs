//! Takes payments and gives them back: writes down, asks the processor, records.
//!
//! Owns the order of these steps. Refuses to know of HTTP. Invariant: the processor is asked only
//! for what is in the ledger, under the id that it has there.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use forward_sdk::{chain, tracing};
use futures::future::join_all;

use crate::{
    config::Terms,
    event::Event,
    id,
    ledger::{Change, Ledger, Opened, OpenedRefund, Received},
    metrics::Metrics,
    payment::{Payment, Refund, RefundStatus, Status},
    processor::{Charge, Processor, ProcessorError, Repayment},
    refund::RefuseRefund,
    request::{PaymentRequest, RefundRequest},
    signature::Mark,
};

pub struct Cashier {
    pub terms: Terms,
    pub ledger: Ledger,
    pub processor: Arc<dyn Processor>,
    pub metrics: Metrics,
}

/// What was asked for, and whether it was there before.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub replayed: bool,
}

/// Why a payment was not taken, or a refund not given.
#[derive(Debug, thiserror::Error)]
pub enum CashError {
    #[error("use the ledger")]
    UseLedger(#[from] sqlx::Error),
    /// It is not known what became of the money; it is found out later.
    #[error("have {id} settled by the processor")]
    AskProcessor { id: String, source: ProcessorError },
    #[error("use a key again for something else")]
    ReuseKey,
    #[error("use a key that is in use")]
    UseKeyTwice,
    #[error("find the payment")]
    FindPayment,
    #[error(transparent)]
    RefuseRefund(#[from] RefuseRefund),
    #[error("have a refund given that the processor refuses")]
    RefusedByProcessor,
}

impl Cashier {
    /// Takes a payment; with a key that is known, gives the one that was taken.
    pub async fn take(
        &self,
        key: Option<&str>,
        request: &PaymentRequest,
    ) -> Result<Done<Payment>, CashError> {
        let known = match self.ledger.open_payment(&id::new(id::PAYMENT), key, request).await? {
            Opened::New(payment) => {
                return Ok(Done { value: self.charge(&payment).await?, replayed: false });
            }
            Opened::Known(payment) => payment,
        };
        if !known.answers(request) {
            return Err(CashError::ReuseKey);
        }
        if known.status != Status::Pending {
            return Ok(Done { value: known, replayed: true });
        }
        // Whoever began is at it, or will not come back.
        let claimed = self.ledger.claim_payment(&known.id).await?.ok_or(CashError::UseKeyTwice)?;
        Ok(Done { value: self.charge(&claimed).await?, replayed: true })
    }

    /// Gives some of a payment back; with a key that is known, gives the refund that was given.
    pub async fn give_back(
        &self,
        payment_id: &str,
        key: Option<&str>,
        request: &RefundRequest,
    ) -> Result<Done<Refund>, CashError> {
        let opened = self.ledger.open_refund(&id::new(id::REFUND), payment_id, key, request).await?;
        let known = match opened {
            OpenedRefund::New(refund) => {
                return Ok(Done { value: given(self.repay(&refund).await?)?, replayed: false });
            }
            OpenedRefund::Known(refund) => refund,
            OpenedRefund::NoPayment => return Err(CashError::FindPayment),
            OpenedRefund::Refused(refused) => return Err(refused.into()),
        };
        if !known.answers(payment_id, request) {
            return Err(CashError::ReuseKey);
        }
        if known.status != RefundStatus::Pending {
            return Ok(Done { value: given(known)?, replayed: true });
        }
        let claimed = self.ledger.claim_refund(&known.id).await?.ok_or(CashError::UseKeyTwice)?;
        Ok(Done { value: given(self.repay(&claimed).await?)?, replayed: true })
    }

    /// Has a pending payment, which is claimed, charged.
    pub async fn charge(&self, payment: &Payment) -> Result<Payment, CashError> {
        let Payment { id, amount, currency, method, description, .. } = payment;
        let description = description.as_deref();
        let begin = Instant::now();
        let charged = self.processor.charge(Charge { id, amount: *amount, currency, method, description });
        let charged = charged.await.map_err(|source| unsettled(id, source))?;
        self.metrics.time_charge(begin.elapsed());
        let (payment, changed) = self.ledger.record_charge(id, &charged).await?;
        if changed {
            self.metrics.count_payment(payment.status);
            tracing::info!(payment = payment.id, status = payment.status.as_str(), "payment settled");
        }
        Ok(payment)
    }

    /// Has a pending refund, which is claimed, given.
    pub async fn repay(&self, refund: &Refund) -> Result<Refund, CashError> {
        let Refund { id, charge_id, amount, .. } = refund;
        let provider_id = charge_id.as_deref().expect("the ledger has one for payments that succeeded");
        let repaid = self.processor.refund(Repayment { id, provider_id, amount: *amount });
        let repaid = repaid.await.map_err(|source| unsettled(id, source))?;
        let (refund, changed) = self.ledger.record_refund(id, &repaid).await?;
        if changed {
            match refund.status {
                RefundStatus::Succeeded => self.metrics.count_refund(refund.amount),
                RefundStatus::Refused | RefundStatus::Pending => self.metrics.count_refused_refund(),
            }
            tracing::info!(refund = refund.id, status = refund.status.as_str(), "refund settled");
        }
        Ok(refund)
    }

    /// Brings the record in line with what the processor tells.
    pub async fn hear(&self, event: &Event, mark: &Mark) -> Result<Received, sqlx::Error> {
        let received = self.ledger.receive(event, mark).await?;
        match received {
            Received::Changed(Change::Payment(status)) => self.metrics.count_payment(status),
            Received::Changed(Change::Refunded(amount)) => self.metrics.count_refund(amount),
            Received::Replayed | Received::Duplicate | Received::Ignored => {}
        }
        Ok(received)
    }

    /// Takes up what nobody is at and is not known the end of: what pods that crashed left, and what
    /// the processor did not decide.
    pub async fn recover(&self) -> Result<(), sqlx::Error> {
        // All at once: claims would run out while others are waited for.
        let payments = self.ledger.claim_payments().await?;
        join_all(payments.iter().map(async |payment| {
            self.metrics.count_recovered("payment");
            log_outcome(&payment.id, self.charge(payment).await);
        }))
        .await;
        let refunds = self.ledger.claim_refunds().await?;
        join_all(refunds.iter().map(async |refund| {
            self.metrics.count_recovered("refund");
            log_outcome(&refund.id, self.repay(refund).await);
        }))
        .await;
        Ok(())
    }
}

fn given(refund: Refund) -> Result<Refund, CashError> {
    if refund.status == RefundStatus::Refused { Err(CashError::RefusedByProcessor) } else { Ok(refund) }
}

fn unsettled(id: &str, source: ProcessorError) -> CashError {
    CashError::AskProcessor { id: id.to_owned(), source }
}

fn log_outcome<T>(id: &str, settled: Result<T, CashError>) {
    match settled {
        Ok(_) => tracing::info!(id, "settled what was left over"),
        Err(error) => tracing::warn!(id, error = chain(&error), "what is left over stays so for now"),
    }
}
