//! Memory: of connections on which nothing happens, and of routes.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::block_in_place;

use super::{
    Bench,
    load::Client,
    objects::{self, ROUTES},
    proxy::{Kind, Proxy},
};
use crate::table::Table;

const CONNECTIONS: usize = 10_000;
/// How many of them come from one address: fewer than it has ports.
const OF_ONE: usize = 5_000;
/// How long what was needed once may take to be given back.
const REST: Duration = Duration::from_secs(5);
/// Plugins where memory of connections is measured.
const FEW: usize = 10;
/// Plugins with 5,000 routes.
const MANY: usize = 5_000 / ROUTES;

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("ask how many files may be open")?;
    let wanted = hard.min(2 * CONNECTIONS as u64).max(soft);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("open more files")?;
    let (_api, gateway) = bench.gateway(FEW, "idle-gateway").await?;
    tokio::time::sleep(REST).await;
    let few = gateway.memory()?;
    block_in_place(|| {
        let each = idle(gateway)?;
        for kind in [Kind::Nginx, Kind::Envoy] {
            let place = bench.place(&format!("idle-{}", kind.as_str()));
            let peer = Proxy::peer(kind, &bench.args.programs, FEW, bench.origin, &place)?;
            table.told(
                format!("{}: memory of each of {CONNECTIONS} idle connections", kind.as_str()),
                format!("{:.1} KiB", idle(peer)?),
            );
        }
        table.wanted(format!("memory of each of {CONNECTIONS} idle connections"), each, 10.0, " KiB");
        Ok::<_, anyhow::Error>(())
    })?;
    let (_api, gateway) = bench.gateway(MANY, "routes-gateway").await?;
    tokio::time::sleep(REST).await;
    table.told("memory with 100 routes", format!("{few:.1} MiB"));
    table.wanted("memory with 5,000 routes", gateway.memory()?, 40.0, " MiB");
    block_in_place(|| gateway.stop())
}

/// What each connection takes that has had a request and waits for another, in KiB.
fn idle(mut proxy: Proxy) -> Result<f64> {
    let path = objects::paths(FEW).remove(0);
    proxy.await_answer(&path)?;
    thread::sleep(REST);
    let before = proxy.memory()?;
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = Client::over(connect_from(number / OF_ONE, proxy.address)?)?;
        client.get(&path).with_context(|| format!("ask on connection {number}"))?;
        clients.push(client);
    }
    thread::sleep(REST);
    let each = (proxy.memory()? - before) * 1_024.0 / CONNECTIONS as f64;
    drop(clients);
    proxy.stop()?;
    Ok(each)
}

/// A connection from one of several local addresses.
fn connect_from(address: usize, target: SocketAddr) -> Result<TcpStream> {
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(address)?), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&source.into()).with_context(|| format!("use the address {source}"))?;
    socket.connect(&target.into()).with_context(|| format!("connect to {target}"))?;
    Ok(socket.into())
}
