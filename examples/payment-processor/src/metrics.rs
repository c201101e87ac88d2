//! What is counted and timed.

use std::time::Duration;

use forward_sdk::{
    Metrics as Shown,
    prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram},
};

use crate::payment::Status;

/// Upper bounds of the times that charges take, in seconds.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// A label and its value, from a closed set.
type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Debug)]
pub struct Metrics {
    payments: Family<Labels, Counter>,
    charges: Histogram,
    refunds: Family<Labels, Counter>,
    refunded_amount: Counter,
    webhooks: Family<Labels, Counter>,
    recovered: Family<Labels, Counter>,
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            payments: Family::default(),
            charges: Histogram::new(SECONDS),
            refunds: Family::default(),
            refunded_amount: Counter::default(),
            webhooks: Family::default(),
            recovered: Family::default(),
        }
    }

    /// Shows them with those of the plugin.
    pub fn show(&self, shown: &Shown) {
        let Self { payments, charges, refunds, refunded_amount, webhooks, recovered } = self.clone();
        shown.register("payments_processed", "Payments by outcome", payments);
        shown.register("payments_charge_seconds", "Time that the processor took for a charge", charges);
        shown.register("payments_refunds", "Refunds by outcome", refunds);
        shown.register(
            "payments_refunded_amount",
            "Money given back, in the currency's minor unit",
            refunded_amount,
        );
        shown.register("payments_webhooks", "Messages of the processor by result", webhooks);
        shown.register("payments_recovered", "What was taken over after a crash or an error", recovered);
    }

    pub fn count_payment(&self, status: Status) {
        self.payments.get_or_create(&[("outcome", status.as_str())]).inc();
    }

    pub fn time_charge(&self, took: Duration) {
        self.charges.observe(took.as_secs_f64());
    }

    /// A refund that was given, and how much it is.
    pub fn count_refund(&self, amount: i64) {
        self.refunds.get_or_create(&[("outcome", "succeeded")]).inc();
        self.refunded_amount.inc_by(amount.unsigned_abs());
    }

    pub fn count_refused_refund(&self) {
        self.refunds.get_or_create(&[("outcome", "refused")]).inc();
    }

    /// `result` is one of a closed set.
    pub fn count_webhook(&self, result: &'static str) {
        self.webhooks.get_or_create(&[("result", result)]).inc();
    }

    /// `kind` is `payment` or `refund`.
    pub fn count_recovered(&self, kind: &'static str) {
        self.recovered.get_or_create(&[("kind", kind)]).inc();
    }
}
