//! A testbed plugin as a process, the way a pod would run it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// More than anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// A plugin's process; it ends with the value.
pub struct Plugin {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
    /// Where it answers: `127.0.0.1:PORT`.
    pub address: String,
}

impl Plugin {
    /// Runs the plugin until its port is open. `name` is unique among the tests.
    pub async fn spawn(name: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config).unwrap();
        fs::write(folder.join("termination-log"), "").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
            .envs([("GOFORWARD_PORT", "0"), ("GOFORWARD_PLUGIN_NAME", name), ("RUST_LOG", "info")])
            .env("GOFORWARD_CONFIG_DIR", &folder)
            .env("GOFORWARD_TERMINATION_LOG", folder.join("termination-log"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut plugin = Self { child, log, folder, address: String::new() };
        let port = &plugin.await_line("the process is up").await["port"];
        plugin.address = format!("127.0.0.1:{port}");
        plugin
    }

    /// Runs the plugin until it has started.
    pub async fn start(name: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let mut plugin = Self::spawn(name, config, environment).await;
        plugin.await_line("started").await;
        plugin
    }

    /// Reads the log until a line with this message, which it returns.
    pub async fn await_line(&mut self, message: &str) -> Value {
        loop {
            let line = timeout(BOUND, self.log.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no line {message:?} in {BOUND:?}"));
            let line = line.unwrap().unwrap_or_else(|| panic!("the process ended without {message:?}"));
            let line: Value = serde_json::from_str(&line).unwrap();
            assert!(line["plugin"].is_string(), "{line}");
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Replaces the configuration as the kubelet does: its folder as a whole, by a link.
    pub fn mount(&self, hash: &str, config: &str) {
        let name = format!("..{hash}");
        let content = self.folder.join(&name);
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("config.json"), config).unwrap();
        fs::write(content.join("config-hash"), hash).unwrap();
        let link = self.folder.join("..new");
        symlink(name, &link).unwrap();
        fs::rename(link, self.folder.join("..data")).unwrap();
    }

    /// Where its configuration is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// Waits for the end of the process: its exit code and its termination message.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let log = async { while self.log.next_line().await.unwrap().is_some() {} };
        timeout(BOUND, log).await.expect("the process ends");
        let status: ExitStatus = timeout(BOUND, self.child.wait()).await.expect("the process ends").unwrap();
        (status.code(), fs::read_to_string(self.folder.join("termination-log")).unwrap())
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// What the kubelet's probes for `initialized` and readiness see.
    pub async fn probes(&self) -> [ServingStatus; 2] {
        let mut client = HealthClient::new(self.channel().await);
        let mut answers = Vec::new();
        for service in ["initialized", ""] {
            let request = HealthCheckRequest { service: service.to_owned() };
            answers.push(client.check(request).await.unwrap().into_inner().status());
        }
        answers.try_into().unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let uri = format!("http://{}{path}", self.address).parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<&[u8]>>();
        let response = client.get(uri).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}
