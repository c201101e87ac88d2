//! What h2spec says: all that RFC 9113 and RFC 7541 ask of a server, tried over the wire.

use std::{env, net::SocketAddr, process::Stdio};

use forward_gateway::data::worker::Settings;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    harness::*,
    tls::{Folder, files, mount, tls},
};

/// Asks a port everything; what it says, with its last line. `cargo xtask test` builds h2spec and
/// says where it is; without it there is nothing to run.
async fn ask(port: u16, more: &[&str]) -> Option<String> {
    let Some(program) = env::var_os("FORWARD_H2SPEC") else {
        eprintln!("FORWARD_H2SPEC does not say where h2spec is: nothing was tested");
        return None;
    };
    let asked = Command::new(program)
        .args(["--strict", "--timeout", "5", "--port", &port.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    Some(String::from_utf8_lossy(&asked.stdout).into_owned())
}

/// What it says of failures.
fn failures(said: &str) -> &str {
    said.split_once("Failures:").map_or("", |(_, failures)| failures)
}

/// A plugin that answers everything once it is whole, and whose clients may be gone. One that answers
/// sooner can be faster than the wrong frame that h2spec has still to send, which then comes too late to
/// be refused.
async fn plugin() -> SocketAddr {
    origin(|mut peer| async move {
        loop {
            let head = peer.head().await;
            if head.is_empty() {
                return;
            }
            if value(&head, "transfer-encoding").is_some() {
                // Chunks and trailers end with an empty line too.
                peer.head().await;
            }
            if peer.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn finds_nothing_over_tls() {
    let folder = Folder::new("h2spec");
    mount(&folder.0, "a", &["localhost"]);
    let (gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    gateway.to(plugin().await);
    let Some(said) = ask(secured.port(), &["--tls", "--insecure"]).await else { return };
    assert!(said.contains(" 0 skipped, 0 failed"), "{said}");
}

/// In the clear there is HTTP/1.1 on the same port: a preface that is none is a request that is
/// none, and is answered with 400 before the connection is closed. h2spec wants no answer.
#[tokio::test]
async fn finds_in_the_clear_only_that_there_is_http_1_too() {
    let gateway = Gateway::new();
    gateway.to(plugin().await);
    let Some(said) = ask(gateway.address.port(), &[]).await else { return };
    let found = failures(&said);
    assert!(said.contains(" 0 skipped, 1 failed"), "{said}");
    assert!(found.contains("2: Sends invalid connection preface"), "{found}");
    assert!(found.contains("looked like an HTTP/1.1 header"), "{found}");
}
