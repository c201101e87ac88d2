//! Very many plugins: what they cost while they are there.

use std::time::Duration;

use anyhow::{Result, ensure};
use forward_crds::Plugin;
use tokio::time::{Instant, interval, sleep};

use crate::{
    Bench, admission,
    calls::reads_and_writes,
    client::{self, is_started},
    operator::Operator,
    plugins,
    table::{Table, line},
};

/// What it is compared with.
const FEW: usize = 100;
const DEPTH: usize = 10;
const REST: Duration = Duration::from_secs(600);
/// How long nothing may be written.
const QUIET: Duration = Duration::from_secs(60);
/// How long what follows an edit may take: details of a status are told of two seconds later.
const SETTLE: Duration = Duration::from_secs(5);
/// Edits that the processor time of one is the mean of: the kernel counts in steps of 10 ms.
const EDITS: usize = 100;

/// What an edit costs the operator, in the mean.
struct Edit {
    processor: f64,
    reads: f64,
    writes: f64,
}

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let count = bench.args.size;
    line(&format!("{FEW} plugins, and {count}"));
    let operator = bring_up(bench, "few", FEW).await?;
    let few = edit(bench, &operator, "few", FEW).await?;
    operator.stop().await?;

    let begin = Instant::now();
    let operator = bring_up(bench, "many", count).await?;
    table.told(
        format!("{count} plugins, from apply to Started"),
        format!("{:.0} s", begin.elapsed().as_secs_f64()),
    );
    memory(&operator, table, "that brought them up")?;

    let mark = bench.calls.mark()?;
    sleep(QUIET).await;
    let (_, writes) = reads_and_writes(&bench.calls.since(mark)?);
    table.wanted(format!("writes in {} s in which nothing happens", QUIET.as_secs()), writes as f64, 0.0, "");

    let many = edit(bench, &operator, "many", count).await?;
    table.told("calls for an edit of a leaf", format!("{} reads, {} writes", many.reads, many.writes));
    table.told(format!("processor time for an edit at {FEW}"), format!("{:.2} ms", few.processor * 1e3));
    table.told(format!("processor time for an edit at {count}"), format!("{:.2} ms", many.processor * 1e3));
    table.wanted("ratio of these", many.processor / few.processor, 1.3, "");
    admission::measure(bench, operator.webhook, ("many", count), table).await?;
    operator.stop().await?;

    let mark = bench.calls.mark()?;
    let operator = Operator::start(&bench.args.program)?;
    let rest = operator.await_steady(count, REST).await?;
    table.wanted("from a restart to rest", rest.as_secs_f64(), 30.0, " s");
    let (reads, writes) = reads_and_writes(&bench.calls.since(mark)?);
    table.wanted("writes of a restart", writes as f64, 0.0, "");
    table.told("reads of a restart, besides lists", reads.to_string());
    memory(&operator, table, "that was restarted")?;
    operator.stop().await
}

fn memory(operator: &Operator, table: &mut Table, which: &str) -> Result<()> {
    let memory = operator.memory()?;
    table.wanted(format!("memory of an operator {which}, at rest"), memory.now, 150.0, " MiB");
    table.wanted(format!("the most memory of an operator {which}"), memory.most, 150.0, " MiB");
    Ok(())
}

async fn bring_up(bench: &Bench, namespace: &str, count: usize) -> Result<Operator> {
    let cluster = &bench.cluster;
    cluster.namespace(namespace).await?;
    let operator = Operator::start(&bench.args.program)?;
    operator.await_steady(0, REST).await?;
    let manifests = plugins::graph(count, DEPTH);
    tokio::try_join!(
        cluster.create_plugins(namespace, &manifests),
        cluster.await_all::<Plugin>(namespace, count, client::bound(count), is_started),
    )?;
    operator.await_steady(count, REST).await?;
    Ok(operator)
}

/// Edit plugins that nobody needs, one after the other, each until its status says so.
async fn edit(bench: &Bench, operator: &Operator, namespace: &str, count: usize) -> Result<Edit> {
    let leaves = (0..EDITS).map(|edit| count - 1 - edit % (count / DEPTH));
    let (mark, used) = (bench.calls.mark()?, operator.processor_time()?);
    for (edit, leaf) in leaves.enumerate() {
        let (name, priority) = (plugins::name(leaf), i32::try_from(edit)? + 1);
        let generation = bench.cluster.edit(namespace, &name, priority).await?;
        let begin = Instant::now();
        let mut ticks = interval(Duration::from_millis(20));
        while bench.cluster.get(namespace, &name).await?.observed_generation < generation {
            ensure!(begin.elapsed() < REST, "the edit of {name} does not reach its status");
            ticks.tick().await;
        }
    }
    // Not by its metrics: with very many plugins they cost more than edits.
    sleep(SETTLE).await;
    let each = |sum: f64| sum / EDITS as f64;
    let processor = each((operator.processor_time()? - used).as_secs_f64());
    let (reads, writes) = reads_and_writes(&bench.calls.since(mark)?);
    Ok(Edit { processor, reads: each(reads as f64), writes: each(writes as f64) })
}
