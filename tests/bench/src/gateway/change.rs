//! Changes: how soon a pod that has become ready gets requests, and what a change of the routes does to
//! requests that are under way.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::task::block_in_place;

use super::{
    Bench,
    api::Api,
    load::{Client, Load, Outcome},
    median,
    objects::{self, Kind, ROUTES},
    proxy::Proxy,
};
use crate::table::{Table, line};

const PLUGINS: usize = 3_000 / ROUTES;
/// Changes from no pod to one.
const TIMES: usize = 200;
/// How long a pod may take to get its first request.
const BOUND: Duration = Duration::from_secs(5);
/// Between two asks whether it does.
const PAUSE: Duration = Duration::from_micros(200);
/// Plugins that come and go, and how often: each is [`ROUTES`] routes and a table of all routes.
const COMING: usize = 5;
const PACE: Duration = Duration::from_millis(20);
const CONNECTIONS: usize = 64;

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (api, gateway) = bench.gateway(PLUGINS, "change-gateway").await?;
    block_in_place(|| {
        readiness(bench, &api, &gateway, table)?;
        swaps(bench, &api, &gateway, table)?;
        gateway.stop()
    })
}

/// From the event that a pod is ready to an answer of it.
fn readiness(bench: &Bench, api: &Api, gateway: &Proxy, table: &mut Table) -> Result<()> {
    let path = objects::paths(1).remove(0);
    let mut client = Client::connect(gateway.address)?;
    let mut took = Vec::new();
    for _ in 0..TIMES {
        api.apply(Kind::Slice, objects::slice(0, &[]));
        await_status(&mut client, &path, 503)?;
        let begin = Instant::now();
        api.apply(Kind::Slice, objects::slice(0, &[bench.origin]));
        await_status(&mut client, &path, 200)?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    table.told("from ready to routed at 3,000 routes, in the middle", format!("{:.2} ms", median(&took)));
    let most = took.last().copied().context("a time")?;
    table.told(format!("the same, the longest of {TIMES}"), format!("{most:.2} ms"));
    table.wanted("the same, 99 of 100", took[took.len() * 99 / 100 - 1], 10.0, " ms");
    Ok(())
}

fn await_status(client: &mut Client, path: &str, status: u16) -> Result<()> {
    let begin = Instant::now();
    while client.get(path)? != status {
        if begin.elapsed() > BOUND {
            bail!("{path} is not answered with {status}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Requests while other plugins come and go, and before and after that, in turns: what these two differ by
/// is what the measure cannot tell.
fn swaps(bench: &Bench, api: &Api, gateway: &Proxy, table: &mut Table) -> Result<()> {
    let paths = objects::paths(PLUGINS);
    let load = Load {
        target: gateway.address,
        paths: &paths,
        connections: CONNECTIONS,
        rate: Some(bench.args.rate),
        time: bench.round(),
    };
    let (mut before, mut during, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut answered) = (0, 0);
    let count = AtomicUsize::new(0);
    for round in 0..bench.args.rounds {
        before.push(load.run()?.check("before changes")?.p99());
        let outcome = changing(api, &count, || load.run())?;
        failed += outcome.failed;
        answered += outcome.answered;
        during.push(outcome.p99());
        after.push(load.run()?.check("after changes")?.p99());
        line(&format!("  round {} of {}", round + 1, bench.args.rounds));
    }
    let still = median(&[&*before, &*after].concat());
    let [before, during, after] = [before, during, after].map(|p99s| median(&p99s));
    table.told("swaps of the routes under load", format!("{}, {answered} requests", count.load(Relaxed)));
    table.wanted("requests that failed meanwhile", failed as f64, 0.0, "");
    table.told(
        "latency of 99 of 100 requests before, during and after swaps",
        format!("{before:.2} ms, {during:.2} ms, {after:.2} ms"),
    );
    table.told("ratio of after to before", format!("{:.2}", after / before));
    table.wanted("ratio of during to both", during / still, 1.2, "");
    Ok(())
}

/// What is measured while plugins come and go.
fn changing(api: &Api, count: &AtomicUsize, measure: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if over.load(Relaxed) {
                    break;
                }
                let number = PLUGINS + turn % COMING;
                if (turn / COMING).is_multiple_of(2) {
                    api.apply(Kind::Plugin, objects::plugin(number, &json!([])));
                } else {
                    api.delete(Kind::Plugin, &objects::name(number));
                }
                count.fetch_add(1, Relaxed);
                thread::sleep(PACE);
            }
        });
        let outcome = measure();
        over.store(true, Relaxed);
        outcome
    })
}
