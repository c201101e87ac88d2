//! A plain HTTP request, as a browser would send it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::exec::await_some;

/// What the demo asks the examples for.
pub const PATHS: &[&str] = &["/hello/world", "/relay"];

const BOUND: Duration = Duration::from_secs(10);

/// Asks the gateway behind a loopback port; gives the answer's body.
pub fn get(port: u16, path: &str) -> Result<String> {
    // A new node port takes the cluster's network a moment.
    let answer = await_some("an answer of the gateway", BOUND, || Ok(exchange(port, path).ok()))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer of HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("GET {path}: {status}\n{body}");
    }
    Ok(body.to_owned())
}

fn exchange(port: u16, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(BOUND))?;
    // The oldest version: its answers end with the connection and come in no chunks.
    write!(connection, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: forward-demo\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    if answer.is_empty() {
        bail!("the connection ended without an answer");
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
