//! What the tests of the examples have in common: a plugin as a process of its own, the real
//! servers that it needs, and a browser.
//!
//! Owns no expectation about any example. Everything ends with its value; what cannot be had is a
//! panic that says which Debian package brings it: nothing is skipped.
#![expect(clippy::unwrap_used, reason = "part of tests: a panic is their failure")]

mod browser;
mod folder;
mod http;
mod port;
mod postgres;
mod process;
mod program;
mod redis;
mod server;
mod signature;
mod wait;

pub use browser::Browser;
pub use fantoccini;
pub use http::{Answer, pointers, request, told};
pub use postgres::Postgres;
pub use process::Process;
pub use redis::Redis;
pub use signature::stripe_signature;
pub use wait::{at_once, await_some, await_that, block_on};
