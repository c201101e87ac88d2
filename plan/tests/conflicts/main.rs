//! What is said of plugins that cannot agree, against a search through everything that could be
//! said: on all small graphs.
#![expect(clippy::unwrap_used, reason = "a graph that cannot be made fails")]

mod cycles;
mod graphs;
mod plugins;
mod search;
#[path = "../serving/mod.rs"]
mod serving;
mod stars;
