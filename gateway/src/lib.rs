//! The gateway: registers what plugins offer and carries the traffic.
//!
//! Owns routing, every request, and the gateway's part of a plugin's status. Refuses to own what
//! runs a plugin: it creates and deletes nothing.

mod admin;
pub mod alerts;
pub mod callers;
pub mod config;
pub mod control;
pub mod data;
pub mod debug;
pub mod events;
pub mod export;
pub mod metrics;
pub mod mounts;
pub mod run;
pub mod tls;
