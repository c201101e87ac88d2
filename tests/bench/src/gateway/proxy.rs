//! The proxies that are measured, each as a process of this machine: the gateway as it is in the image,
//! and its peers with the same duties.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Programs, api::Api, load::Client, peers};
use crate::{api::write_kubeconfig, process};

/// How long a proxy may take to answer its first request: the gateway under valgrind takes its time.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(60);
/// Threads or processes that carry traffic.
pub const WORKERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gateway,
    Nginx,
    Envoy,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Nginx, Self::Envoy];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }
}

/// A proxy that runs until it is stopped or dropped.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
}

impl Proxy {
    /// The gateway, with the objects that an API server has.
    pub fn gateway(programs: &Programs, api: &Api, place: &Path) -> Result<Self> {
        Self::gateway_by(Command::new(&programs.gateway), WORKERS, api, place)
    }

    /// The same, run by another command.
    pub fn gateway_by(mut command: Command, workers: usize, api: &Api, place: &Path) -> Result<Self> {
        let folder = prepare(place)?;
        let (listen, admin) = (free_port()?, free_port()?);
        let kubeconfig = folder.join("kubeconfig");
        write_kubeconfig(&kubeconfig, api.address)?;
        command
            .args([format!("--listen={listen}"), format!("--admin={admin}"), format!("--workers={workers}")])
            .arg("--drain=100ms")
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", "warn");
        Self::spawn(command, listen, &folder)
    }

    /// One of the peers, with routes for so many plugins.
    pub fn peer(
        kind: Kind,
        programs: &Programs,
        plugins: usize,
        origin: SocketAddr,
        place: &Path,
    ) -> Result<Self> {
        let folder = prepare(place)?;
        let listen = free_port()?;
        let command = match kind {
            Kind::Gateway => bail!("the gateway is started with an API server"),
            Kind::Nginx => peers::nginx(programs, plugins, listen, origin, &folder)?,
            Kind::Envoy => peers::envoy(programs, plugins, listen, origin, &folder)?,
        };
        Self::spawn(command, listen, &folder)
    }

    fn spawn(mut command: Command, address: SocketAddr, folder: &Path) -> Result<Self> {
        let program = command.get_program().to_owned();
        let log = File::create(folder.join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, address })
    }

    /// Wait until it answers a path with 200.
    pub fn await_answer(&mut self, path: &str) -> Result<()> {
        let begin = Instant::now();
        let answers =
            |address| Client::connect(address).and_then(|mut it| Ok(it.get(path)?)).ok() == Some(200);
        while !answers(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("a proxy ended with {status}; see its log");
            }
            if begin.elapsed() > START {
                bail!("a proxy does not answer {path} with 200; see its log");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// The processor time of all its processes.
    pub fn processor_time(&self) -> Result<process::Times> {
        let mut all = process::Times::default();
        for pid in self.processes()? {
            all += process::times(pid)?;
        }
        Ok(all)
    }

    /// What of all its processes lies in memory, in MiB.
    pub fn memory(&self) -> Result<f64> {
        self.processes()?.into_iter().map(|pid| Ok(process::memory(pid)?.now)).sum()
    }

    /// Itself and its children.
    fn processes(&self) -> Result<Vec<i32>> {
        let pid = self.pid()?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().map(|it| Ok(it.parse()?));
        std::iter::once(Ok(pid)).chain(children).collect()
    }

    /// End it, and wait until it has.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // Killed, nginx would leave its workers behind.
        kill(Pid::from_raw(self.pid()?), Signal::SIGTERM).context("tell a proxy to stop")?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > STOP {
                self.child.kill()?;
                bail!("a proxy does not stop");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // After an error, which is told instead.
        self.end().ok();
    }
}

fn prepare(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.to_owned())
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?.local_addr()?)
}
