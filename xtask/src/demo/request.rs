//! A plain HTTP request, as a browser would send it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::exec::await_some;

const BOUND: Duration = Duration::from_secs(15);

/// An answer of the gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The gateway, or what it asked, is not there yet.
    fn is_passing(&self) -> bool {
        matches!(self.status, 404 | 502..=504)
    }
}

/// Asks the gateway behind a loopback port; gives the answer's body.
pub fn get(port: u16, path: &str) -> Result<String> {
    let Answer { status, body } = send(port, &format!("GET {path}"), "", "")?;
    if status != 200 {
        bail!("GET {path}: {status}\n{body}");
    }
    Ok(body)
}

/// Posts JSON under a key, by which it happens once however often it is sent.
pub fn post(port: u16, path: &str, key: &str, body: &str) -> Result<Answer> {
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\nIdempotency-Key: {key}\r\n",
        body.len()
    );
    send(port, &format!("POST {path}"), &headers, body)
}

fn send(port: u16, request: &str, headers: &str, body: &str) -> Result<Answer> {
    // A new node port takes the cluster's network a moment, a new route the other replica of the gateway.
    await_some(&format!("an answer to {request}"), BOUND, || {
        let answer = exchange(port, request, headers, body).ok();
        Ok(answer.filter(|answer| !answer.is_passing()))
    })
}

fn exchange(port: u16, request: &str, headers: &str, body: &str) -> Result<Answer> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(BOUND))?;
    // The oldest version: its answers end with the connection and come in no chunks.
    write!(
        connection,
        "{request} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: forward-demo\r\n{headers}\r\n{body}"
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer of HTTP")?;
    let status = head.split(' ').nth(1).context("a status")?.parse().context("read the status")?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        let answer = parse("HTTP/1.0 202 Accepted\r\nLocation: /x\r\n\r\n{}\n").unwrap();
        assert_eq!(answer, Answer { status: 202, body: "{}\n".into() });
        // The connection ended early.
        assert!(parse("").is_err());
        assert!(parse("HTTP/1.0 200 OK\r\nLocation").is_err());
    }
}
