//! The plugins' side: answers of 1 KiB, in a thread of its own, and one that never answers.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};

/// How long an answer's body is, in bytes.
pub const BODY: usize = 1024;

/// Answer every request until the process ends.
pub fn start() -> Result<SocketAddr> {
    let words = "All that a plugin says, over and over. ";
    let body: String = words.chars().cycle().take(BODY).collect();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n{body}");
    serve(Some(answer.into()))
}

/// Take requests and never answer.
pub fn start_mute() -> Result<SocketAddr> {
    serve(None)
}

fn serve(answer: Option<Box<str>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen as a plugin")?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    // It lives as long as the process.
    let answer: Option<&'static str> = answer.map(|answer| &*Box::leak(answer));
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
            loop {
                // One that broke before it was accepted is its client's matter.
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, answer));
                }
            }
        });
    });
    Ok(address)
}

/// Requests have no bodies, and come one after the other.
async fn connection(mut stream: TcpStream, answer: Option<&'static str>) {
    stream.set_nodelay(true).ok();
    let (mut buffer, mut filled) = ([0; 16 * 1024], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += count;
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        filled = 0;
        if let Some(answer) = answer
            && stream.write_all(answer.as_bytes()).await.is_err()
        {
            return;
        }
    }
}
