//! The plugin as a process, on each of its storages, and its dashboard in a real browser.
#![expect(clippy::unwrap_used, reason = "part of tests: a panic is their failure")]

mod dashboard;
mod realtime;
mod storages;
mod stream;
mod tracker;
mod tracking;
