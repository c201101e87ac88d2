//! What the operator is told: flags, each with an environment variable of the same meaning.

use std::{env, net::SocketAddr};

use clap::{Parser, Subcommand};
use forward_plan::Overrides;

/// Runs the plugins of a cluster: brings them up, over and down in dependency order.
#[derive(Parser)]
#[command(name = "forward-operator", version)]
pub struct Args {
    #[command(flatten)]
    pub operator: OperatorArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(clap::Args)]
pub struct OperatorArgs {
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "FORWARD_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The Lease that decides which replica acts.
    #[arg(long, env = "FORWARD_LEASE", default_value = "forward-operator")]
    pub lease: String,
    /// The namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "forward-system")]
    pub namespace: String,
    /// This replica's name: what it writes into the Lease and its events.
    #[arg(long, env = "POD_NAME", default_value = "forward-operator")]
    pub identity: String,
    /// How many plugins are worked on at the same time.
    #[arg(long, env = "FORWARD_CONCURRENCY", default_value_t = 16)]
    pub concurrency: u16,
}

#[derive(Subcommand)]
pub enum Command {
    /// Exit with 0 when every URL answers with a status below 400.
    Check {
        /// Plain http URLs.
        #[arg(required = true)]
        urls: Vec<axum::http::Uri>,
    },
    /// Take the operator's finalizer off every plugin, so that plugins can be deleted when no
    /// operator runs any more.
    Release {
        /// Delete the definitions of Plugin and PluginSystem too, and with them all plugins.
        #[arg(long)]
        delete_crds: bool,
    },
}

/// The settings of plugins that the environment overrides. What is wrong with a variable is logged:
/// it must not keep the operator from running all plugins.
pub fn overrides() -> Overrides {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let (overrides, errors) = Overrides::read(env::vars_os().filter_map(text));
    for error in errors {
        tracing::warn!(%error, "a variable is not heeded");
    }
    overrides
}
