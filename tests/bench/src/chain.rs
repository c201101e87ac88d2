//! A chain of plugins: what the operator adds to the time in which they start one after the other.

use std::time::Duration;

use anyhow::{Context, Result};
use forward_crds::Plugin;
use k8s_openapi::api::apps::v1::Deployment;
use tokio::time::Instant;

use crate::{
    Bench,
    client::{Span, is_available, is_started},
    operator::Operator,
    plugins,
    table::{Table, line},
};

const LENGTH: usize = 20;
const BOUND: Duration = Duration::from_secs(300);

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    line(&format!("a chain of {LENGTH}"));
    let cluster = &bench.cluster;
    cluster.namespace("chain").await?;
    let operator = Operator::start(&bench.args.program)?;
    operator.await_steady(0, BOUND).await?;
    let (manifests, begin) = (plugins::chain(LENGTH), Instant::now());
    let ((), plugins, deployments) = tokio::try_join!(
        cluster.create_plugins("chain", &manifests),
        cluster.await_all::<Plugin>("chain", LENGTH, BOUND, is_started),
        cluster.await_all::<Deployment>("chain", LENGTH, BOUND, is_available),
    )?;
    let end = plugins.values().filter_map(|span| span.done).max().context("the last plugin")?;
    let own: Duration = deployments.values().filter_map(Span::length).sum();
    let all = end.duration_since(begin);
    table.told(format!("a chain of {LENGTH}, from apply to Started"), format!("{:.2} s", all.as_secs_f64()));
    table.told(
        "from its Deployments to their pods being available, in sum",
        format!("{:.2} s", own.as_secs_f64()),
    );
    table.wanted("what the operator adds", (all - own).as_secs_f64(), 1.0, " s");
    operator.stop().await
}
