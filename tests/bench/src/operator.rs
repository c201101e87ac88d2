//! The operator, as a process on this machine.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, interval, timeout},
};

use crate::process::{self, Memory};

/// Longer than its Lease, which a predecessor that was killed may still hold.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// What is started.
#[derive(clap::Args)]
pub struct Program {
    /// The operator's program.
    #[arg(long, env = "FORWARD_OPERATOR")]
    pub operator: PathBuf,
    /// Its own kubeconfig, with the rights that the chart gives it.
    #[arg(long, env = "FORWARD_OPERATOR_KUBECONFIG")]
    pub operator_kubeconfig: PathBuf,
    /// Its namespace.
    #[arg(long, env = "FORWARD_NAMESPACE")]
    pub namespace: String,
    /// The Secret there, in which it keeps the certificates of its webhook.
    #[arg(long, env = "FORWARD_WEBHOOK")]
    pub webhook: String,
}

/// An operator that runs until it is stopped or dropped.
pub struct Operator {
    child: Child,
    pid: i32,
    admin: SocketAddr,
    /// Where reviews are answered; the API server does not know of it.
    pub webhook: SocketAddr,
}

impl Operator {
    /// Start it. It may not act yet.
    pub fn start(program: &Program) -> Result<Self> {
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).context("a free port");
        let (admin, webhook) = (port()?, port()?);
        let log = File::options().create(true).append(true).open("operator.log").context("its log")?;
        let child = Command::new(&program.operator)
            .arg(format!("--listen={admin}"))
            .args([format!("--webhook={}", program.webhook), format!("--webhook-listen={webhook}")])
            .arg(format!("--namespace={}", program.namespace))
            .env("KUBECONFIG", &program.operator_kubeconfig)
            .stdin(Stdio::null())
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.operator.display()))?;
        let pid = i32::try_from(child.id().context("its pid")?)?;
        Ok(Self { child, pid, admin, webhook })
    }

    /// Wait until it leads and has looked at so many plugins, and has nothing left to do. Answers how
    /// long that took.
    pub async fn await_steady(&self, plugins: usize, bound: Duration) -> Result<Duration> {
        let begin = Instant::now();
        let mut ticks = interval(Duration::from_millis(250));
        let mut last = None;
        while begin.elapsed() < START + bound {
            ticks.tick().await;
            let Ok(page) = self.metrics().await else { continue };
            let reconciles = sum(&page, "forward_operator_reconciles_total");
            let idle = sum(&page, "forward_operator_in_flight") == 0.0;
            let seen = reconciles >= plugins as f64 && sum(&page, "forward_operator_leading") == 1.0;
            match last {
                Some((count, since)) if idle && seen && count == reconciles => return Ok(since),
                _ => last = Some((reconciles, begin.elapsed())),
            }
        }
        bail!("the operator has not come to rest in {} s", begin.elapsed().as_secs());
    }

    pub fn memory(&self) -> Result<Memory> {
        process::memory(self.pid)
    }

    pub fn processor_time(&self) -> Result<Duration> {
        process::processor_time(self.pid)
    }

    /// End it as Kubernetes does.
    pub async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGTERM).context("tell the operator to stop")?;
        let status = timeout(STOP, self.child.wait()).await.context("wait for the operator to stop")??;
        ensure!(status.success(), "the operator ended with {status}; its log is operator.log");
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        timeout(STOP, stream.read_to_string(&mut page)).await??;
        Ok(page)
    }
}

/// The sum of a metric over all its labels.
fn sum(page: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    page.lines().filter_map(value).sum()
}
