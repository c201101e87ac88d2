//! A real PostgreSQL of a test's own.

use std::{
    fs::{self, File},
    os::unix::{fs::chown, process::CommandExt},
    process::{Child, Command},
    sync::{Mutex, OnceLock},
};

use nix::{sys::signal::Signal, unistd::geteuid};

use crate::{folder::Folder, port, program, server};

/// Whom it runs as where the tests run as root, which it refuses: `nobody`.
const NOBODY: u32 = 65534;

/// A server with data of its own; both end with the value. It listens on the loopback.
pub struct Postgres {
    folder: Folder,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl Postgres {
    /// The one that all tests of a program share; each has databases of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts one, for tests that stop it. It takes about two seconds.
    pub fn start() -> Self {
        let folder = Folder::new("postgres");
        if geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut initdb = as_nobody(Command::new(program::of_postgres("initdb")));
        initdb.args(["--username=forward", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        let output = initdb.arg("--pgdata").arg(folder.path().join("data")).output().unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let postgres = Self { folder, port: port::free(), server: Mutex::default() };
        postgres.start_again();
        postgres
    }

    /// The URL of a new database of this name.
    pub fn database(&self, name: &str) -> String {
        let created = Command::new(program::of_postgres("createdb"))
            .args(["--host=127.0.0.1", "--username=forward", &format!("--port={}", self.port), name])
            .output()
            .unwrap();
        assert!(created.status.success(), "createdb: {}", String::from_utf8_lossy(&created.stderr));
        format!("postgres://forward@127.0.0.1:{}/{name}", self.port)
    }

    /// Ends the server as fast as it can without losing anything, and breaks its connections.
    pub fn stop(&self) {
        let Some(mut server) = self.server.lock().unwrap().take() else { return };
        server::signal(&server, Signal::SIGINT).unwrap();
        server.wait().unwrap();
    }

    /// Starts the server on its data and its port again.
    pub fn start_again(&self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut server = as_nobody(server::command(&program::of_postgres("postgres"), "INT"));
        server
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"])
            .args(["-c", "max_connections=200", "-p", &self.port.to_string()])
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .stderr(log);
        *self.server.lock().unwrap() = Some(server::spawn(server));
        port::await_listener(self.port, "PostgreSQL");
        self.await_ready();
    }

    /// It listens before it answers.
    fn await_ready(&self) {
        let ready = || {
            let mut ask = Command::new(program::of_postgres("pg_isready"));
            let address = ["--host=127.0.0.1".to_owned(), format!("--port={}", self.port)];
            ask.args(address).arg("--quiet").status().unwrap().success()
        };
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!((0..20).any(|_| ready()), "PostgreSQL is not ready: {}", log());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn as_nobody(mut command: Command) -> Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}
