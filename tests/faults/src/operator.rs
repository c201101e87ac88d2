//! The operator as a process on this machine, started again whenever it has ended, as the kubelet
//! does.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use forward_tests::SYSTEM_NAMESPACE;
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot},
    time::sleep,
};

/// The pause before one is started again that ended by itself; one that was killed is at once.
const PAUSE: Duration = Duration::from_secs(1);

/// The operator. It ends with the value.
#[derive(Clone)]
pub struct Operator {
    orders: mpsc::Sender<Order>,
    ended: Arc<Mutex<Vec<ExitStatus>>>,
    /// What it wrote.
    pub log: PathBuf,
    clock: PathBuf,
}

enum Order {
    Kill(oneshot::Sender<()>),
    End(oneshot::Sender<()>),
}

impl Operator {
    /// Start the operator that `FORWARD_OPERATOR` names, with an API server at `address`. Its log
    /// and its kubeconfig lie in `folder`.
    pub fn start(address: SocketAddr, folder: &Path) -> Result<Self> {
        let program = env::var_os("FORWARD_OPERATOR")
            .context("FORWARD_OPERATOR names no program: `cargo xtask test` builds it and sets it")?;
        fs::create_dir_all(folder)?;
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, config(address))?;
        let (orders, received) = mpsc::channel(1);
        let (log, clock) = (folder.join("operator.log"), folder.join("clock"));
        let process = Process { program: program.into(), kubeconfig, log: log.clone(), clock: clock.clone() };
        let child = process.start()?;
        let ended = Arc::<Mutex<Vec<_>>>::default();
        tokio::spawn(process.keep(child, received, ended.clone()));
        Ok(Self { orders, ended, log, clock })
    }

    /// Kill it, and have it started again. Returns once it is dead.
    pub async fn kill(&self) {
        self.order(Order::Kill).await;
    }

    /// Kill it for good.
    pub async fn end(&self) {
        self.order(Order::End).await;
    }

    /// Set its clock so many seconds off the machine's. An operator that was started before there was
    /// such a clock does not look at it: kill it once. Others see it within a second.
    pub fn set_clock(&self, off: i64) -> Result<()> {
        fs::write(&self.clock, format!("{off:+}")).context("set the operator's clock")
    }

    /// How it ended when nobody had killed it.
    pub fn ended(&self) -> Vec<ExitStatus> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn order(&self, order: fn(oneshot::Sender<()>) -> Order) {
        let (done, is_done) = oneshot::channel();
        // Errors mean that it has been ended for good.
        self.orders.send(order(done)).await.ok();
        is_done.await.ok();
    }
}

struct Process {
    program: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    clock: PathBuf,
}

impl Process {
    fn start(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log).context("open its log")?;
        let mut command = Command::new(&self.program);
        if self.clock.exists() {
            let library = env::var_os("FORWARD_FAKETIME").context(
                "FORWARD_FAKETIME names no library: `cargo xtask test` fetches libfaketime and sets it",
            )?;
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", &self.clock)
                .env("FAKETIME_CACHE_DURATION", "1")
                // Only the time of day is ever set.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
            .args(["--listen=127.0.0.1:0", "--identity=faults", "--namespace", SYSTEM_NAMESPACE])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUST_LOG", "info,forward_operator=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))
    }

    /// Until it is ended for good, or nobody is left to do so.
    async fn keep(
        self,
        mut child: Child,
        mut orders: mpsc::Receiver<Order>,
        ended: Arc<Mutex<Vec<ExitStatus>>>,
    ) -> Result<()> {
        loop {
            tokio::select! {
                status = child.wait() => {
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push(status?);
                    sleep(PAUSE).await;
                }
                order = orders.recv() => {
                    child.kill().await?;
                    let ends = matches!(order, Some(Order::End(_)));
                    let Some(Order::Kill(done) | Order::End(done)) = order else { return Ok(()) };
                    // Who asked for it may have been dropped meanwhile.
                    done.send(()).ok();
                    if ends {
                        return Ok(());
                    }
                }
            }
            child = self.start()?;
        }
    }
}

/// Plain HTTP and nobody's identity: the proxy asks as the operator's ServiceAccount.
fn config(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
         clusters: [{{name: proxy, cluster: {{server: 'http://{address}'}}}}]\n\
         contexts: [{{name: proxy, context: {{cluster: proxy, user: proxy}}}}]\n\
         users: [{{name: proxy, user: {{}}}}]\n"
    )
}
