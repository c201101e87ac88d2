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
    io::AsyncWriteExt,
    net::TcpStream,
    task::{JoinSet, block_in_place},
    time::{sleep, timeout},
};

use super::{
    Bench,
    load::{Load, request, rest},
    median,
    objects::{self, Kind},
    origin,
};
use crate::table::{Table, line};

/// Clients of the other plugin, each with a request in a second: more than the gateway lets wait for a pod
/// that hangs.
const OTHERS: usize = 1_200;
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
    let (well, hangs): (Vec<_>, Vec<_>) =
        objects::paths(2).into_iter().partition(|path| path.starts_with(&format!("/{}/", objects::name(0))));
    let load = Load {
        target: gateway.address,
        paths: &well,
        connections: CONNECTIONS,
        rate: Some(bench.args.rate),
        time: bench.round(),
    };
    let (mut alone, mut busy, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.args.rounds {
        alone.push(block_in_place(|| load.run())?.check("with no other")?.p99());
        for (others, p99s) in [(bench.origin, &mut busy), (mute, &mut beside)] {
            api.apply(Kind::Slice, objects::slice(1, &[others]));
            let (mut waiting, hanging) = (JoinSet::new(), Arc::<AtomicUsize>::default());
            for (path, number) in hangs.iter().cycle().zip(0..OTHERS) {
                let first = AGAIN.mul_f64(number as f64 / OTHERS as f64);
                waiting.spawn(wait(gateway.address, request(path, ""), first, hanging.clone()));
            }
            sleep(SETTLE).await;
            if others == mute {
                check(&hanging)?;
            }
            p99s.push(block_in_place(|| load.run())?.check("beside others")?.p99());
            waiting.shutdown().await;
            sleep(SETTLE).await;
        }
        line(&format!("  round {} of {}", round + 1, bench.args.rounds));
    }
    let [alone, busy, beside] = [alone, busy, beside].map(|p99s| median(&p99s));
    table.told(
        format!("latency of 99 of 100 requests alone, beside {OTHERS} clients of a plugin that answers, and of one that hangs"),
        format!("{alone:.2} ms, {busy:.2} ms, {beside:.2} ms"),
    );
    table.wanted("ratio of the last to the first", beside / alone, 1.2, "");
    table.told("ratio of the last to the second", format!("{:.2}", beside / busy));
    block_in_place(|| gateway.stop()).context("stop the gateway")
}

/// Have a request under way, the first after a time; one that is refused is tried again, on the same
/// connection where that is still open.
async fn wait(target: SocketAddr, request: String, first: Duration, hanging: Arc<AtomicUsize>) {
    sleep(first).await;
    loop {
        // However it ends, the next one takes its place.
        insist(target, &request, &hanging).await.ok();
        sleep(AGAIN).await;
    }
}

async fn insist(target: SocketAddr, request: &str, hanging: &AtomicUsize) -> Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    loop {
        ask(&mut stream, request, hanging).await?;
        sleep(AGAIN).await;
    }
}

/// Have an answer, and be counted while there is none for longer than a refusal takes.
async fn ask(stream: &mut TcpStream, request: &str, hanging: &AtomicUsize) -> Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    if let Ok(answered) = timeout(PATIENCE, rest(stream, &mut read)).await {
        return answered.map(drop);
    }
    hanging.fetch_add(1, Relaxed);
    let answered = rest(stream, &mut read).await;
    hanging.fetch_sub(1, Relaxed);
    answered.map(drop)
}

/// Whether there is something to be beside of.
fn check(hanging: &AtomicUsize) -> Result<()> {
    let waiting = hanging.load(Relaxed);
    ensure!(waiting >= WAITING, "only {waiting} of {OTHERS} requests wait for the plugin that hangs");
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
