//! Ports for servers that cannot choose one by themselves.

use std::{
    net::{TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server may take to listen.
const BOUND: Duration = Duration::from_secs(20);

/// A port of the loopback on which nobody listens.
pub fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens on a port.
pub fn await_listener(port: u16, what: &str) {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < BOUND, "{what} does not listen on port {port} after {BOUND:?}");
        sleep(Duration::from_millis(20));
    }
}
