//! The gateway measured: as a process of this machine, fed by what stands in for an API server, and its
//! peers beside it with the same duties. `cargo xtask bench gateway` gets the peers and starts this.
//!
//! What is compared is measured in turns in one run, so that what else the machine does concerns all
//! alike; of the rounds the middle one counts.

mod api;
mod bulkhead;
mod change;
mod cost;
mod idle;
mod instructions;
mod load;
mod objects;
mod origin;
mod peers;
mod proxy;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use self::{
    api::Api,
    objects::{Kind, ROUTES},
    proxy::Proxy,
};
use crate::table::{Table, line};

/// Measure the gateway on this machine.
#[derive(clap::Args)]
pub struct Args {
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// How often each is measured; the middle one counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Requests a second where a rate is fixed.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Write the table of instructions anew.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    programs: Programs,
    /// The table of instructions.
    #[arg(long, env = "FORWARD_INSTRUCTIONS")]
    instructions: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Processor time and latency beside nginx and Envoy.
    Cost,
    /// Memory of idle connections and of routes.
    Memory,
    /// How soon a change counts, and what it does to requests under way.
    Change,
    /// A plugin that hangs beside one that does not.
    Bulkhead,
    /// Instructions for each request, compared with the table of before.
    Instructions,
}

impl Measure {
    const ALL: [Self; 5] = [Self::Cost, Self::Memory, Self::Change, Self::Bulkhead, Self::Instructions];
}

/// What is started.
#[derive(clap::Args)]
pub struct Programs {
    /// The gateway's program.
    #[arg(long, env = "FORWARD_GATEWAY")]
    gateway: PathBuf,
    /// A folder with nginx and its libraries, as Debian's packages have them.
    #[arg(long, env = "FORWARD_NGINX")]
    nginx: PathBuf,
    /// Envoy's program.
    #[arg(long, env = "FORWARD_ENVOY")]
    envoy: PathBuf,
}

/// What every measure works with.
struct Bench {
    args: Args,
    /// Where logs and configurations of the proxies go.
    folder: PathBuf,
    origin: SocketAddr,
}

pub async fn run(args: Args) -> Result<()> {
    let folder = env::current_dir().context("a folder for logs")?;
    let bench = Bench { args, folder, origin: origin::start()? };
    let mut table = Table::default();
    for measure in Measure::ALL {
        if bench.args.only.is_empty() || bench.args.only.contains(&measure) {
            match measure {
                Measure::Cost => cost::measure(&bench, &mut table).await?,
                Measure::Memory => idle::measure(&bench, &mut table).await?,
                Measure::Change => change::measure(&bench, &mut table).await?,
                Measure::Bulkhead => bulkhead::measure(&bench, &mut table).await?,
                Measure::Instructions => instructions::measure(&bench, &mut table).await?,
            }
        }
    }
    table.print();
    Ok(())
}

impl Bench {
    fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn round(&self) -> Duration {
        Duration::from_secs_f64(self.args.seconds)
    }

    /// A gateway with so many plugins of [`ROUTES`] routes each, that answers for all of them.
    async fn gateway(&self, plugins: usize, name: &str) -> Result<(Api, Proxy)> {
        let api = Api::start().await?;
        for number in 0..plugins {
            api.apply(Kind::Plugin, objects::plugin(number, &json!([])));
            api.apply(Kind::Slice, objects::slice(number, &[self.origin]));
        }
        let mut gateway = Proxy::gateway(&self.args.programs, &api, &self.place(name))?;
        let last = objects::paths(plugins).pop().context("a path")?;
        let gateway = blocking(move || gateway.await_answer(&last).map(|()| gateway)).await?;
        line(&format!("a gateway with {} routes", plugins * ROUTES));
        Ok((api, gateway))
    }
}

impl Programs {
    /// nginx, run with its own libraries.
    fn nginx(&self) -> Command {
        let loader = Path::new("lib64/ld-linux-x86-64.so.2");
        let loader =
            if cfg!(target_arch = "aarch64") { Path::new("lib/ld-linux-aarch64.so.1") } else { loader };
        let libraries = self.nginx.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
        let mut command = Command::new(self.nginx.join(loader));
        command.arg("--library-path").arg(libraries).arg(self.nginx.join("usr/sbin/nginx"));
        command
    }
}

/// Where waiting may take a thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a measure panicked")?
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
