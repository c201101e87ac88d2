//! Collects events, answers questions about them, and shows them live.

mod closing;
mod config;
mod dashboard;
mod event;
mod intake;
mod live;
mod metrics;
mod plugin;
mod query;
mod requests;
mod routes;
mod sampling;
mod storage;

forward_sdk::main!(plugin::AnalyticsTracker);
