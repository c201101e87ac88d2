//! The plugin as a process, or two of them, over a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "part of tests: a panic is their failure")]

mod concurrency;
mod expiry;
mod items;
mod life;
mod model;
mod outage;
mod reservations;
mod world;
