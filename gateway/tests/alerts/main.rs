//! Alerts, from the objects to the receivers: a real Alertmanager, and a server that takes webhooks. The
//! API server is the part of it that takes Events.

#![expect(clippy::unwrap_used, reason = "a test stops where something unexpected is")]

mod alertmanager;
mod webhook;
mod world;
