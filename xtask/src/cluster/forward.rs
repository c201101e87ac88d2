//! Makes the cluster answer on the machine's loopback: takes connections outside of
//! its network and carries their bytes inside.

use std::{fs, net::TcpListener as Listener, path::PathBuf};

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime,
    task::JoinSet,
};

use super::{
    layout::{API_PORT, GATEWAY_NODE_PORT, NODE_ADDRESS, Ports},
    process,
};

/// Carries connections into a cluster's network; not for people.
#[derive(clap::Args)]
pub struct Forward {
    #[arg(long)]
    netns: PathBuf,
    /// Where to write which ports were taken.
    #[arg(long)]
    report: PathBuf,
    /// The ports to take if they are free.
    #[arg(long)]
    api: u16,
    #[arg(long)]
    gateway: u16,
}

impl Forward {
    pub fn run(&self) -> Result<()> {
        let (api, gateway) = (listen(self.api)?, listen(self.gateway)?);
        // Sockets stay in the network they were made in; those made from here on
        // are inside. There is no other thread yet that would be left behind.
        process::enter(&self.netns)?;
        let ports = Ports { api: api.local_addr()?.port(), gateway: gateway.local_addr()?.port() };
        let unfinished = self.report.with_extension("new");
        fs::write(&unfinished, serde_json::to_string(&ports)?)?;
        fs::rename(&unfinished, &self.report).context("report the ports")?;
        runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
            let (api, gateway) = (TcpListener::from_std(api)?, TcpListener::from_std(gateway)?);
            tokio::try_join!(carry(api, API_PORT), carry(gateway, GATEWAY_NODE_PORT))?;
            Ok(())
        })
    }
}

fn listen(preferred: u16) -> Result<Listener> {
    let listener = Listener::bind(("127.0.0.1", preferred))
        .or_else(|_taken| Listener::bind(("127.0.0.1", 0)))
        .context("find a free port on the loopback")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn carry(listener: TcpListener, port: u16) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut outside, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            // Nobody inside listens yet, or one side went away: the other sees its
            // connection close, which is all there is to say.
            let mut inside = TcpStream::connect((NODE_ADDRESS, port)).await?;
            outside.set_nodelay(true)?;
            inside.set_nodelay(true)?;
            copy_bidirectional(&mut outside, &mut inside).await
        });
    }
}
