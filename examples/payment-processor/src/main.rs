//! Takes payments, gives them back, and hears of them from the processor that moves the money.
//!
//! Owns the record of every charge and refund. Refuses to see card numbers: a payment method is the
//! processor's token. Invariant: what is asked for is written down before the processor is asked,
//! and the processor is always asked under the same key, so that a crash at any moment neither
//! loses a charge nor makes it twice.

mod api;
mod cashier;
mod config;
mod event;
mod id;
mod idempotency;
mod ledger;
mod metrics;
mod money;
mod payment;
mod plugin;
mod processor;
mod recovery;
mod refund;
mod request;
mod signature;

forward_sdk::main!(plugin::PaymentProcessor);
