//! What the author of a plugin links. A plugin is a type that implements [`Plugin`];
//! [`main!`] makes a program of it:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use forward_sdk::{Context, Error, Plugin, Routes, axum::extract::State};
//!
//! struct Greeter;
//!
//! impl Plugin for Greeter {
//!     type Config = forward_sdk::NoConfig;
//!
//!     async fn initialize(_: Self::Config, _: &Context) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn routes(&self) -> Routes<Self> {
//!         Routes::new().get("/greeting", greeting)
//!     }
//! }
//!
//! async fn greeting(State(_): State<Arc<Greeter>>) -> &'static str {
//!     "hello"
//! }
//!
//! forward_sdk::main!(Greeter);
//! ```
//!
//! `cargo run` runs it on port 8080 with an empty configuration; `GOFORWARD_CONFIG_DIR` names a folder
//! with a `config.json`, `GOFORWARD_PORT` another port, `GOFORWARD_DEPENDENCY_<NAME>` the base URL of a
//! plugin it depends on, `GOFORWARD_TERMINATION_LOG` a file for the message of a failure, and
//! `RUST_LOG` what is logged.
//!
//! Owns a plugin's life inside its pod: configuration, the contract `goforward.plugin.v1`, probes,
//! draining, the termination message, logs. Refuses to own anything outside the pod; what a plugin
//! knows of the cluster is what its environment says. Invariant: a plugin is asked for nothing
//! before `start` has returned, and is never cut off in a request while it drains.
#![warn(missing_docs)]

mod about;
mod client;
mod config;
mod context;
mod contract;
mod document;
mod drain;
pub mod duration;
mod environment;
mod failure;
mod folder;
mod gate;
mod health;
mod host;
pub mod json;
mod lifecycle;
mod log;
mod metrics;
pub mod middleware;
mod panics;
mod pattern;
mod phase;
mod plugin;
mod probes;
mod problem;
mod process;
mod reload;
mod routes;
mod run;
mod schema;
mod serve;
mod signals;
#[cfg(feature = "otel")]
mod spans;
mod termination;
mod trace;

pub use axum;
pub use prometheus_client;
pub use schemars;
pub use tracing;

pub use crate::{
    about::About,
    client::{CallError, Dependency},
    context::{Context, UndeclaredDependency},
    failure::chain,
    health::Health,
    json::Json,
    metrics::Metrics,
    middleware::Middleware,
    plugin::{Error, NoConfig, Plugin},
    problem::{FieldError, Problem},
    routes::Routes,
    run::run,
    schema::schema_of,
    trace::TraceContext,
};

/// Makes the program of a plugin: `forward_sdk::main!(Hello);` is its whole `main`. Its name,
/// version and description are those of the crate that it stands in.
#[macro_export]
macro_rules! main {
    ($plugin:ty) => {
        fn main() -> ::std::process::ExitCode {
            $crate::run::<$plugin>($crate::About {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                description: env!("CARGO_PKG_DESCRIPTION"),
            })
        }
    };
}
