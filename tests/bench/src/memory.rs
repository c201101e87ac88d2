//! What the operator keeps in memory of very many plugins, without a cluster: something stands in for
//! the API server. Three plugins are brought up, so that their objects are as the operator makes them;
//! then another operator is shown as many as are wanted, made after those, as after a restart.

mod crowd;
mod server;
mod world;

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, interval, sleep};

use self::world::World;
use crate::{
    api,
    operator::{Operator, Program},
    table::{Table, line},
};

/// How long anything may take.
const BOUND: Duration = Duration::from_secs(150);
/// How long nothing must have been written until nothing is taken to follow: longer than details of a
/// status wait.
const QUIET: Duration = Duration::from_secs(5);
/// How long what was needed once may take to be given back.
const REST: Duration = Duration::from_secs(10);

/// Measure the operator's memory on this machine.
#[derive(clap::Args)]
pub struct Args {
    /// Plugins that there are.
    #[arg(long, default_value_t = 10_000)]
    plugins: usize,
    /// The operator's program.
    #[arg(long, env = "FORWARD_OPERATOR")]
    operator: PathBuf,
}

pub async fn run(args: Args) -> Result<()> {
    let kubeconfig = env::current_dir().context("a folder")?.join("kubeconfig");
    let world = World::with(crowd::samples());
    api::write_kubeconfig(&kubeconfig, api::serve(world.clone()).await?)?;
    let program = Program {
        operator: args.operator,
        operator_kubeconfig: kubeconfig,
        namespace: server::NAMESPACE.to_owned(),
        webhook: server::WEBHOOK.to_owned(),
    };
    let mut table = Table::default();
    line("three plugins");
    let operator = Operator::start(&program)?;
    await_samples(&world).await?;
    let few = operator.memory()?.now;
    operator.stop().await?;
    table.told("memory with three plugins", format!("{few:.1} MiB"));

    line(&format!("{} plugins", args.plugins));
    world.multiply(args.plugins)?;
    let operator = Operator::start(&program)?;
    let rest = operator.await_steady(args.plugins, BOUND).await?;
    table.told("from a start to rest", format!("{:.1} s", rest.as_secs_f64()));
    sleep(REST).await;
    let memory = operator.memory()?;
    operator.stop().await?;
    let written = world.written();
    ensure!(written.is_empty(), "the objects are not as the operator makes them: it wrote {written:?}");
    let each = (memory.now - few) * 1_024.0 / args.plugins as f64;
    table.told("memory of each plugin", format!("{each:.1} KiB"));
    table.wanted(format!("memory with {} plugins, at rest", args.plugins), memory.now, 150.0, " MiB");
    table.wanted("the most memory", memory.most, 150.0, " MiB");
    table.print();
    Ok(())
}

/// Wait until the samples have started and nothing is written of them any more.
async fn await_samples(world: &World) -> Result<()> {
    let begin = Instant::now();
    let mut ticks = interval(Duration::from_millis(250));
    while !world.has_started() || world.quiet() < QUIET {
        ensure!(begin.elapsed() < BOUND, "three plugins do not start; the operator's log is operator.log");
        ticks.tick().await;
    }
    Ok(())
}
