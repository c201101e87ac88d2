//! A plugin as a process of its own, the way a pod would run it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use forward_proto::plugin::v1::{
    HealthRequest, HealthResponse, health_response::Status, plugin_client::PluginClient,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    folder::Folder,
    http::{Answer, request, try_request},
    server::signal,
    wait::block_on,
};

/// A plugin's process; it ends with the value.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    _folder: Folder,
    /// Where it answers: `127.0.0.1:PORT`.
    pub address: String,
}

impl Process {
    /// Runs a program as the plugin `name`, with its configuration and more of its environment, until
    /// it has started.
    pub fn start(program: &str, name: &str, config: &Value, environment: &[(&str, &str)]) -> Self {
        let (mut child, folder) = spawn(program, name, config, environment);
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = String::new();
        for line in output.by_ref() {
            let line = read(&line.unwrap());
            if let Some(port) = line["port"].as_u64() {
                address = format!("127.0.0.1:{port}");
            }
            if line["message"] == "started" {
                let log = Arc::default();
                collect(output, &log);
                return Self { child, log, _folder: folder, address };
            }
            if line["level"] == "ERROR" {
                eprintln!("{name}: {line}");
            }
        }
        panic!("{name} ended before it had started");
    }

    /// Runs a program that should end before it has started; gives its termination message.
    pub fn failure(program: &str, name: &str, config: &Value, environment: &[(&str, &str)]) -> String {
        let messages = Folder::new("message");
        let file = messages.path().join("message");
        let variable = ("GOFORWARD_TERMINATION_LOG", file.to_str().unwrap());
        let (child, _folder) = spawn(program, name, config, &[environment, &[variable]].concat());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{name} ended as if all were well: {said}");
        fs::read_to_string(&file).unwrap_or_else(|_| panic!("{name} left no message: {said}"))
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    /// Sends a request with a body of JSON, or an empty one.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(&self.address, method, path, headers, body)
    }

    /// The same; `None` where the process ended before it answered.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        try_request(&self.address, method, path, headers, body).ok()
    }

    /// The value of a line of `/metrics`, by its name with its labels.
    pub fn metric(&self, name: &str) -> Option<String> {
        let text = self.get("/metrics").body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    }

    /// What it tells the gateway of its health, and whether that is good.
    pub fn health(&self) -> (bool, HealthResponse) {
        let health = block_on(async {
            let mut client = PluginClient::connect(format!("http://{}", self.address)).await.unwrap();
            client.health(HealthRequest {}).await.unwrap().into_inner()
        });
        (health.status() == Status::Healthy, health)
    }

    /// What it has logged since it started.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Ends it at once, as SIGKILL does.
    pub fn kill(self) {
        drop(self);
    }

    /// The same while others may be asking it; what is left of it goes with the value.
    pub fn kill_under_load(&self) {
        signal(&self.child, Signal::SIGKILL).unwrap();
    }

    /// Asks it to end, as the kubelet does, and waits until it has; whether it ended well.
    pub fn terminate(mut self) -> bool {
        signal(&self.child, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn spawn(program: &str, name: &str, config: &Value, environment: &[(&str, &str)]) -> (Child, Folder) {
    let folder = Folder::new(name);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let child = Command::new(program)
        .envs([("GOFORWARD_PORT", "0"), ("GOFORWARD_PLUGIN_NAME", name), ("RUST_LOG", "info")])
        .envs([("GOFORWARD_DRAIN", "1s"), ("RUST_BACKTRACE", "0")])
        .env("GOFORWARD_CONFIG_DIR", folder.path())
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("run {program}: {error}"));
    (child, folder)
}

fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
}

/// Reads on: a process whose output nobody takes stands still.
fn collect(output: std::io::Lines<BufReader<ChildStdout>>, log: &Arc<Mutex<Vec<Value>>>) {
    let log = log.clone();
    thread::spawn(move || {
        for line in output.map_while(Result::ok) {
            log.lock().unwrap().push(read(&line));
        }
    });
}
