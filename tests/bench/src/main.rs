//! Measures the operator at size, on a cluster whose nodes are simulated, its [memory] without one, or the
//! [gateway](gateway)'s speed, and prints what it measured next to what is wanted. `cargo xtask bench`
//! starts the cluster, or gets the gateway's peers, and starts this program.
//!
//! Times on a machine that does other things as well mean little by themselves: each is compared with
//! a time of the same run. Counts, memory and the processor time of one process mean what they say.

mod admission;
mod api;
mod calls;
mod chain;
mod client;
mod gateway;
mod memory;
mod operator;
mod plugins;
mod process;
mod size;
mod table;
mod together;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use self::{calls::Calls, client::Cluster, operator::Program, table::Table};

/// Measure Forward.
#[derive(Parser)]
enum Command {
    Operator(Args),
    Gateway(gateway::Args),
    Memory(memory::Args),
}

/// Measure the operator on the cluster that KUBECONFIG names.
#[derive(clap::Args)]
struct Args {
    /// Plugins that are applied at once, 10 deep.
    #[arg(long, default_value_t = 1_000)]
    plugins: usize,
    /// Plugins that are there when memory, events and a restart are measured.
    #[arg(long, default_value_t = 10_000)]
    size: usize,
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    #[command(flatten)]
    program: Program,
    /// The audit log with every call of the operator.
    #[arg(long, env = "FORWARD_AUDIT_LOG")]
    audit_log: PathBuf,
    /// The process of the API server.
    #[arg(long, env = "FORWARD_API_SERVER")]
    api_server: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Many plugins at once, compared with the same objects without an operator.
    Together,
    /// A chain of plugins, each of which waits for the one before.
    Chain,
    /// Very many plugins: memory, the steady state, events, reviews, a restart.
    Size,
}

/// What every measure works with.
struct Bench {
    args: Args,
    cluster: Cluster,
    calls: Calls,
}

#[tokio::main]
async fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match Command::parse() {
        Command::Operator(args) => measure_operator(args).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Memory(args) => memory::run(args).await,
    }
}

async fn measure_operator(args: Args) -> Result<()> {
    let bench = Bench { cluster: Cluster::connect().await?, calls: Calls::new(&args.audit_log), args };
    let mut table = Table::default();
    for measure in [Measure::Together, Measure::Chain, Measure::Size] {
        if bench.args.only.is_empty() || bench.args.only.contains(&measure) {
            match measure {
                Measure::Together => together::measure(&bench, &mut table).await?,
                Measure::Chain => chain::measure(&bench, &mut table).await?,
                Measure::Size => size::measure(&bench, &mut table).await?,
            }
        }
    }
    table.print();
    Ok(())
}
