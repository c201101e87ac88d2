//! Runs an example as a process of its own, the way a pod would, for the examples' tests.
#![expect(clippy::unwrap_used, reason = "part of tests")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A plugin's process; it ends with the value.
pub struct Process {
    child: Child,
    folder: PathBuf,
    /// Where it answers: `127.0.0.1:PORT`.
    pub address: String,
}

impl Process {
    /// Runs a program as the plugin `name`, with its configuration and more of its environment, until
    /// it has started.
    pub fn start(program: &str, name: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config).unwrap();
        let mut child = Command::new(program)
            .envs([("GOFORWARD_PORT", "0"), ("GOFORWARD_PLUGIN_NAME", name), ("RUST_LOG", "info")])
            .env("GOFORWARD_CONFIG_DIR", &folder)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, folder, address: String::new() };
        for line in log {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if let Some(port) = line["port"].as_u64() {
                process.address = format!("127.0.0.1:{port}");
            }
            if line["message"] == "started" {
                return process;
            }
        }
        panic!("the plugin ended before it had started");
    }

    /// GETs a path: the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}
