//! Processor time and latency of a request, with 1,000 routes on all of which requests come: the
//! gateway's beside its peers'.

use anyhow::Result;
use tokio::task::block_in_place;

use super::{
    Bench,
    load::Load,
    median,
    objects::{self, ROUTES},
    proxy::{Kind, Proxy},
};
use crate::{
    process::Times,
    table::{Table, line},
};

const PLUGINS: usize = 1_000 / ROUTES;
const CONNECTIONS: usize = 64;

/// Of one proxy, by round.
#[derive(Default)]
struct Rounds {
    /// Microseconds of processor time for each request, and of these in the kernel.
    cost: Vec<f64>,
    kernel: Vec<f64>,
    /// Milliseconds that it adds to the latency of 99 of 100 requests.
    added: Vec<f64>,
    /// Requests a second where the next follows each answer.
    throughput: Vec<f64>,
}

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (_api, gateway) = bench.gateway(PLUGINS, "cost-gateway").await?;
    block_in_place(|| {
        let peer = |kind: Kind| {
            let place = bench.place(&format!("cost-{}", kind.as_str()));
            Proxy::peer(kind, &bench.args.programs, PLUGINS, bench.origin, &place)
        };
        compare(bench, [gateway, peer(Kind::Nginx)?, peer(Kind::Envoy)?], table)
    })
}

fn compare(bench: &Bench, mut proxies: [Proxy; 3], table: &mut Table) -> Result<()> {
    let paths = objects::paths(PLUGINS);
    for path in &paths {
        for proxy in &mut proxies {
            proxy.await_answer(path)?;
        }
    }
    let mut all: [Rounds; 3] = Default::default();
    let load = Load {
        target: bench.origin,
        paths: &paths,
        connections: CONNECTIONS,
        rate: None,
        time: bench.round(),
    };
    let paced = Load { rate: Some(bench.args.rate), ..load };
    // The first round opens the connections to the plugins, and does not count.
    for round in 0..=bench.args.rounds {
        for ((proxy, kind), rounds) in proxies.iter().zip(Kind::ALL).zip(&mut all) {
            let before = proxy.processor_time()?;
            let outcome = Load { target: proxy.address, ..load }.run()?.check(kind.as_str())?;
            let Times { user, kernel } = proxy.processor_time()?.since(before);
            let each = 1e6 / outcome.answered as f64;
            if round > 0 {
                rounds.cost.push((user + kernel).as_secs_f64() * each);
                rounds.kernel.push(kernel.as_secs_f64() * each);
                rounds.throughput.push(outcome.answered as f64 / bench.args.seconds);
            }
        }
        let direct = paced.run()?.check("no proxy")?.p99();
        for ((proxy, kind), rounds) in proxies.iter().zip(Kind::ALL).zip(&mut all) {
            let p99 = Load { target: proxy.address, ..paced }.run()?.check(kind.as_str())?.p99();
            if round > 0 {
                rounds.added.push(p99 - direct);
            }
        }
        line(&format!("  round {round} of {}", bench.args.rounds));
    }
    tell(&all, table);
    proxies.into_iter().try_for_each(Proxy::stop)
}

fn tell(all: &[Rounds; 3], table: &mut Table) {
    let [gateway, nginx, envoy] = all;
    for (kind, rounds) in Kind::ALL.iter().zip(all) {
        let (cost, kernel) = (median(&rounds.cost), median(&rounds.kernel));
        table.told(
            format!("{}: processor time for each request", kind.as_str()),
            format!("{cost:.1} µs, {kernel:.1} of them in the kernel"),
        );
        let throughput = median(&rounds.throughput);
        table.told(
            format!("{}: requests a second, as fast as they go", kind.as_str()),
            format!("{throughput:.0}"),
        );
    }
    let ratio =
        |others: &[f64]| median(&gateway.cost.iter().zip(others).map(|(a, b)| a / b).collect::<Vec<_>>());
    table.wanted("processor time, as a part of nginx's", ratio(&nginx.cost), 0.8, "");
    table.wanted("processor time, as a part of Envoy's", ratio(&envoy.cost), 0.25, "");
    let (own, most) = (median(&gateway.added), median(&nginx.added));
    table.told("nginx: added to the latency of 99 of 100 requests", format!("{most:.2} ms"));
    table
        .told("envoy: added to the latency of 99 of 100 requests", format!("{:.2} ms", median(&envoy.added)));
    table.wanted("added to the latency of 99 of 100 requests", own, most, " ms");
}
