//! The plugin as a process, or two of them, over a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "part of tests: a panic is their failure")]

mod crash;
mod idempotency;
mod life;
mod outage;
mod payments;
mod refunds;
mod webhook;
mod world;
