//! A real Redis of a test's own.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    process::Child,
    sync::{Mutex, OnceLock},
};

use crate::{folder::Folder, port, program, server};

/// A server with data of its own; both end with the value. It listens on the loopback.
pub struct Redis {
    folder: Folder,
    program: PathBuf,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl Redis {
    /// The one that all tests of a program share; each has databases of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts one, for tests that stop it.
    pub fn start() -> Self {
        let folder = Folder::new("redis");
        // Debian's redis-tools bring the server without a service that starts by itself, but under
        // another name, and it does what its name says.
        let program = folder.path().join("redis-server");
        let found = program::find("redis-server", &["/usr/bin/redis-check-rdb"], "redis-tools");
        symlink(found, &program).unwrap();
        let redis = Self { folder, program, port: port::free(), server: Mutex::default() };
        redis.start_again();
        redis
    }

    /// The URL of a database by its number, 0 to 15.
    pub fn database(&self, number: u8) -> String {
        format!("redis://127.0.0.1:{}/{number}", self.port)
    }

    /// Ends the server at once.
    pub fn stop(&self) {
        if let Some(mut server) = self.server.lock().unwrap().take() {
            server.kill().and_then(|()| server.wait()).unwrap();
        }
    }

    /// Starts the server on its port again, with what it had written down.
    pub fn start_again(&self) {
        let mut server = server::command(&self.program, "KILL");
        server
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"])
            .arg(self.folder.path());
        *self.server.lock().unwrap() = Some(server::spawn(server));
        port::await_listener(self.port, "Redis");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
