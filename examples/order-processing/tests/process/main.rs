//! The plugin as a process, on a real PostgreSQL, with stand-ins for the plugins that it calls.
//!
//! What is asked of every test in the end is the ledger of the stand-ins: what was charged, given
//! back, taken out of stock.
#![expect(clippy::unwrap_used, reason = "part of tests: a panic is their failure")]

mod crash;
mod fault;
mod flow;
mod real;
mod request;
mod shop;
mod stand_in;
mod tracking;
