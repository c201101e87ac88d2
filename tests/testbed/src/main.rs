//! A plugin for tests: it behaves, well or badly, as its configuration says, and its endpoints show
//! what reaches it.
//!
//! Owns no judgement: what is right is for the tests to say.

mod collector;
mod config;
mod endpoints;
mod mark;
mod testbed;

forward_sdk::main!(testbed::Testbed);
