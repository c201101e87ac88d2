//! The control side: objects in, routes and registrations out. Plugins are real gRPC servers; the
//! API server is the part of it that takes a status.

#![expect(clippy::unwrap_used, reason = "a test stops where something unexpected is")]

mod index;
mod metrics;
#[path = "../../../tests/src/metrics_page.rs"]
mod metrics_page;
mod middleware;
mod objects;
mod registration;
mod table;
mod verdict;
