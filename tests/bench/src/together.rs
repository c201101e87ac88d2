//! Many plugins that are applied at once, compared with the same objects when they are made without
//! an operator: what the API server and the controllers of Kubernetes take anyhow.

use std::time::Duration;

use anyhow::Result;
use forward_crds::Plugin;
use k8s_openapi::api::apps::v1::Deployment;
use tokio::time::Instant;

use crate::{
    Bench,
    calls::reads_and_writes,
    client::{self, is_available, is_started},
    operator::Operator,
    plugins,
    process::processor_time,
    table::{Table, line},
};

const DEPTH: usize = 10;
const REST: Duration = Duration::from_secs(300);

/// How long something took, and the processor time of the API server for it.
struct Took {
    time: f64,
    api_server: f64,
}

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let count = bench.args.plugins;
    line(&format!("{count} plugins at once, {DEPTH} deep"));
    // The first plugins of a new cluster take longer than any later ones.
    compare(bench, "warm", count.min(100)).await?;
    let before = bench.calls.mark()?;
    let (operated, flat, operator) = compare(bench, "together", count).await?;
    table.told(
        format!("{count} plugins, {DEPTH} deep, from apply to Started"),
        format!("{:.1} s", operated.time),
    );
    table.told("the same objects without an operator", format!("{:.1} s", flat.time));
    table.wanted("ratio of the times", operated.time / flat.time, 1.3, "");
    table.told("processor time of the API server", format!("{:.1} s", operated.api_server));
    table.told("the same without an operator", format!("{:.1} s", flat.api_server));
    table.told("ratio of the processor times", format!("{:.2}", operated.api_server / flat.api_server));
    table.told(
        "processor time of the operator for each plugin",
        format!("{:.1} ms", operator * 1e3 / count as f64),
    );
    let calls = bench.calls.since(before)?;
    let each = |calls: usize| format!("{:.2}", calls as f64 / count as f64);
    let (reads, writes) = reads_and_writes(&calls);
    table.told("calls for each plugin", format!("{} reads, {} writes", each(reads), each(writes)));
    for (what, calls) in calls {
        table.told(format!("of these: {what}"), each(calls));
    }
    Ok(())
}

/// With the operator, then without; and the operator's own processor time.
async fn compare(bench: &Bench, name: &str, count: usize) -> Result<(Took, Took, f64)> {
    let bound = client::bound(count);
    let (cluster, api_server) = (&bench.cluster, bench.args.api_server);
    cluster.namespace(name).await?;
    let operator = Operator::start(&bench.args.program)?;
    operator.await_steady(0, REST).await?;
    let (begin, used, own) = (Instant::now(), processor_time(api_server)?, operator.processor_time()?);
    let manifests = plugins::graph(count, DEPTH);
    tokio::try_join!(
        cluster.create_plugins(name, &manifests),
        cluster.await_all::<Plugin>(name, count, bound, is_started),
    )?;
    let operated = Took::since(begin, used, api_server)?;
    let own = (operator.processor_time()? - own).as_secs_f64();
    operator.await_steady(count, REST).await?;
    operator.stop().await?;

    let flat = format!("{name}-flat");
    cluster.namespace(&flat).await?;
    let sets = cluster.objects(name, &flat).await?;
    let (begin, used) = (Instant::now(), processor_time(api_server)?);
    tokio::try_join!(
        cluster.create_sets(&sets),
        cluster.await_all::<Deployment>(&flat, count, bound, is_available),
    )?;
    let without = Took::since(begin, used, api_server)?;
    // The next operator is not to look at them.
    cluster.delete_plugins(&flat).await?;
    Ok((operated, without, own))
}

impl Took {
    fn since(begin: Instant, used: Duration, api_server: i32) -> Result<Self> {
        let api_server = (processor_time(api_server)? - used).as_secs_f64();
        Ok(Self { time: begin.elapsed().as_secs_f64(), api_server })
    }
}
