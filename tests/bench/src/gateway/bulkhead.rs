//! A plugin that hangs, and what another one's requests notice of it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, block_in_place},
    time::sleep,
};

use super::{
    Bench,
    load::{Load, request},
    median,
    objects::{self, Kind},
    origin,
};
use crate::table::{Table, line};

/// Clients that wait for the plugin that hangs: more than the gateway lets wait for a pod.
const HANGING: usize = 1_200;
const CONNECTIONS: usize = 64;
/// How long all of them may take to be there.
const SETTLE: Duration = Duration::from_secs(1);
/// After how long one that was refused tries again.
const PAUSE: Duration = Duration::from_millis(500);

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (api, gateway) = bench.gateway(2, "bulkhead-gateway").await?;
    let mute = origin::start_mute()?;
    api.apply(Kind::Slice, objects::slice(1, &[mute]));
    let (well, hangs): (Vec<_>, Vec<_>) =
        objects::paths(2).into_iter().partition(|path| path.starts_with(&format!("/{}/", objects::name(0))));
    let load = Load {
        target: gateway.address,
        paths: &well,
        connections: CONNECTIONS,
        rate: Some(bench.args.rate),
        time: bench.round(),
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..bench.args.rounds {
        alone.push(block_in_place(|| load.run())?.check("with no other")?.p99());
        let mut waiting = JoinSet::new();
        for path in hangs.iter().cycle().take(HANGING) {
            waiting.spawn(wait(gateway.address, request(path, "")));
        }
        sleep(SETTLE).await;
        beside.push(block_in_place(|| load.run())?.check("beside one that hangs")?.p99());
        waiting.shutdown().await;
        sleep(SETTLE).await;
        line(&format!("  round {} of {}", round + 1, bench.args.rounds));
    }
    let (alone, beside) = (median(&alone), median(&beside));
    table.told(
        format!("latency of 99 of 100 requests alone, and beside {HANGING} that hang at another plugin"),
        format!("{alone:.2} ms, {beside:.2} ms"),
    );
    table.wanted("their ratio", beside / alone, 1.2, "");
    block_in_place(|| gateway.stop()).context("stop the gateway")
}

/// Have a request under way; one that is refused is tried again a little later.
async fn wait(target: SocketAddr, request: String) {
    loop {
        // However it ends, the next one takes its place.
        ask(target, &request).await.ok();
        sleep(PAUSE).await;
    }
}

async fn ask(target: SocketAddr, request: &str) -> Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.read_u8().await?;
    Ok(())
}
