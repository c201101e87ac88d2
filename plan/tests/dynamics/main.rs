//! What holds for every graph and every sequence of events: found by driving the decisions of random
//! namespaces through a small simulated cluster.
#![expect(clippy::unwrap_used, reason = "a simulation that cannot go on fails")]

mod cost;
mod hooks;
mod properties;
#[path = "../serving/mod.rs"]
mod serving;
mod settings;
mod simulator;
mod sketch;
mod transitions;
