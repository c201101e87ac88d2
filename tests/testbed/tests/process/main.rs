//! The SDK from outside: real processes, asked over HTTP and gRPC, ended by signals.
#![expect(clippy::unwrap_used, reason = "tests")]

mod contract;
mod failures;
mod hooks;
mod plugin;
mod reload;
mod shutdown;
mod traffic;
