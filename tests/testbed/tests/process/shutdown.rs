//! From SIGTERM to the end of the process.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::plugin::Plugin;

/// Asks over a connection that stays open; the head of the answer.
async fn ask(connection: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let length = loop {
        connection.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                break head.len();
            }
        }
    };
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn goes_on_serving_while_it_drains() {
    let drain = Duration::from_secs(2);
    let mut plugin = Plugin::start("drains", "{}", &[("GOFORWARD_DRAIN", "2s")]).await;
    let mut connection = TcpStream::connect(&plugin.address).await.unwrap();
    plugin.signal(Signal::SIGTERM);
    let begin = Instant::now();
    plugin.await_line("draining").await;
    assert_eq!(plugin.probes().await, [Serving, NotServing]);
    let (mut answers, mut last) = (0, String::new());
    while !last.contains("connection: close") {
        // A new connection and an old one: both are served.
        assert_eq!(plugin.get("/testbed/drains/").await.0, 200);
        last = ask(&mut connection, "/testbed/drains/").await;
        assert!(last.starts_with("HTTP/1.1 200 OK"), "{last}");
        answers += 1;
    }
    // Connections are told to end in the second half, not before.
    assert!(begin.elapsed() >= drain / 2 && answers > 1, "{:?}", begin.elapsed());
    assert_eq!(connection.read(&mut [0]).await.unwrap(), 0, "the connection ends");
    assert_eq!(plugin.ended().await, (Some(0), String::new()));
    assert!(begin.elapsed() >= drain, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn answers_what_was_asked_before_it_ends() {
    let plugin = Plugin::start("finishes", "{}", &[("GOFORWARD_DRAIN", "10ms")]).await;
    let mut connection = TcpStream::connect(&plugin.address).await.unwrap();
    let request = b"GET /testbed/finishes/slow?ms=500 HTTP/1.1\r\nHost: test\r\n\r\n";
    connection.write_all(request).await.unwrap();
    // The plugin has the request for sure once another one on a younger connection is answered.
    plugin.get("/testbed/finishes/slow?ms=50").await;
    plugin.signal(Signal::SIGTERM);
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("after 500 ms\n"), "{answer}");
    assert_eq!(plugin.ended().await.0, Some(0));
}

#[tokio::test]
async fn requests_without_end_are_broken_off_at_the_timeout() {
    let limits = [("GOFORWARD_DRAIN", "0s"), ("GOFORWARD_TIMEOUT", "300ms")];
    let plugin = Plugin::start("endless", "{}", &limits).await;
    let mut connection = TcpStream::connect(&plugin.address).await.unwrap();
    let request = b"GET /testbed/endless/sse?n=1000000&interval=50 HTTP/1.1\r\nHost: test\r\n\r\n";
    connection.write_all(request).await.unwrap();
    connection.read_u8().await.unwrap();
    plugin.signal(Signal::SIGTERM);
    assert_eq!(plugin.ended().await.0, Some(0));
}

#[tokio::test]
async fn stop_obeys_the_timeout() {
    let limits = [("GOFORWARD_DRAIN", "0s"), ("GOFORWARD_TIMEOUT", "200ms")];
    let plugin = Plugin::start("stops", r#"{"stopDelay": "1h"}"#, &limits).await;
    plugin.signal(Signal::SIGTERM);
    assert_eq!(plugin.ended().await, (Some(1), "stop did not finish within 200ms".to_owned()));
}

#[tokio::test]
async fn somebody_at_a_terminal_does_not_wait() {
    let plugin = Plugin::start("interrupted", "{}", &[("GOFORWARD_DRAIN", "1h")]).await;
    plugin.signal(Signal::SIGTERM);
    plugin.signal(Signal::SIGINT);
    assert_eq!(plugin.ended().await, (Some(0), String::new()));
}

#[tokio::test]
async fn says_what_it_was_at_when_it_is_asked_to_end_too_early() {
    let plugin = Plugin::spawn("impatient", r#"{"initializeDelay": "1h"}"#, &[]).await;
    plugin.signal(Signal::SIGTERM);
    let message = "asked to end after 0s, before initialize had finished".to_owned();
    assert_eq!(plugin.ended().await, (Some(0), message));
}
