//! `forward-operator`: brings plugins up, over and down in dependency order.
//!
//! Owns the objects that run a plugin and the operator's part of its status. Refuses to own
//! traffic, and never speaks to a plugin: what it knows of one it reads from the API server.

mod admin;
mod admission;
mod apply;
mod build;
mod check;
mod config;
mod connect;
mod error;
#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/src/fields/mod.rs"]
mod fields;
mod finalizer;
#[cfg(test)]
mod golden;
mod hooks;
mod index;
mod kept;
mod lease;
mod leaves;
mod live;
mod metrics;
#[cfg(test)]
#[path = "../../tests/src/metrics_page.rs"]
mod metrics_page;
mod observe;
mod ownership;
mod pace;
mod queue;
mod reconcile;
mod refresh;
mod release;
mod run;
mod status;
mod teardown;
mod watch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match run::run(config::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "operator failed");
            ExitCode::FAILURE
        }
    }
}
