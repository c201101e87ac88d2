//! A plugin that hangs, and what another one's requests notice of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, block_in_place},
    time::{sleep, timeout},
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
/// How many of them wait at least, or nothing hangs: as many as the gateway lets wait whatever happens.
const WAITING: usize = 64;
/// After how long one that was refused tries again: as `Retry-After` says, and each at a time of its own.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long one that has no answer is taken to wait.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long all of them may take to be there.
const SETTLE: Duration = Duration::from_secs(2);

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
        let (mut waiting, hanging) = (JoinSet::new(), Arc::<AtomicUsize>::default());
        for (path, number) in hangs.iter().cycle().zip(0..HANGING) {
            let first = AGAIN.mul_f64(number as f64 / HANGING as f64);
            waiting.spawn(wait(gateway.address, request(path, ""), first, hanging.clone()));
        }
        sleep(SETTLE).await;
        check(&hanging)?;
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

/// Have a request under way, the first after a time; one that is refused is tried again.
async fn wait(target: SocketAddr, request: String, first: Duration, hanging: Arc<AtomicUsize>) {
    sleep(first).await;
    loop {
        // However it ends, the next one takes its place.
        ask(target, &request, &hanging).await.ok();
        sleep(AGAIN).await;
    }
}

/// Have an answer, and be counted while there is none for longer than a refusal takes.
async fn ask(target: SocketAddr, request: &str, hanging: &AtomicUsize) -> Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(request.as_bytes()).await?;
    if let Ok(answered) = timeout(PATIENCE, stream.read_u8()).await {
        return answered.map(drop).map_err(Into::into);
    }
    hanging.fetch_add(1, Relaxed);
    let answered = stream.read_u8().await;
    hanging.fetch_sub(1, Relaxed);
    answered.map(drop).map_err(Into::into)
}

/// Whether there is something to be beside of.
fn check(hanging: &AtomicUsize) -> Result<()> {
    let waiting = hanging.load(Relaxed);
    ensure!(waiting >= WAITING, "only {waiting} of {HANGING} requests wait for the plugin that hangs");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_answered_does_not_hang() -> Result<()> {
        for (plugin, hangs) in [(origin::start_mute()?, true), (origin::start()?, false)] {
            let (mut waiting, hanging) = (JoinSet::new(), Arc::<AtomicUsize>::default());
            for _ in 0..WAITING {
                waiting.spawn(wait(plugin, request("/x", ""), Duration::ZERO, hanging.clone()));
            }
            sleep(SETTLE).await;
            assert_eq!(check(&hanging).is_ok(), hangs);
        }
        Ok(())
    }
}
