//! What a client can send only by hand: frames of HTTP/2 that could become two requests of
//! HTTP/1.1, and connections that begin in an unusual way.

use std::time::Duration;

use forward_gateway::data::{http2::PREFACE, worker::Settings};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::harness::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Header fields as literals that are not indexed, as RFC 7541 has them, whatever is in them.
pub fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in list {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer ones are encoded in another way");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

pub fn opening() -> Vec<u8> {
    [PREFACE.as_slice(), &frame(SETTINGS, 0, 0, b"")].concat()
}

/// What the gateway did with stream 1: whether it answered with a head that is not of success, or
/// broke off the stream or the connection. `None` where it answered with 200.
pub async fn refusal(client: &mut Peer) -> Option<&'static str> {
    let reading = async {
        loop {
            let mut head = [0; 9];
            if client.stream.read_exact(&mut head).await.is_err() {
                return Some("closed");
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            client.stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                // The status comes first, and the static table has 200 at 8.
                HEADERS if payload[0] == 0x88 => return None,
                HEADERS => return Some("answered"),
                RST_STREAM => return Some("reset"),
                GOAWAY => return Some("gone"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap()
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];

/// Sends a head, and a body if there is one; whether it was refused, and all that the plugin got.
async fn send(head: &[(&str, &str)], body: Option<&str>) -> (Option<&'static str>, String) {
    let (seen, got) = tokio::sync::watch::channel(String::new());
    let gateway = Gateway::new();
    let plugin = origin(move |mut peer| {
        let seen = seen.clone();
        async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = peer.stream.read(&mut bytes).await {
                seen.send_modify(|seen| seen.push_str(&String::from_utf8_lossy(&bytes[..count])));
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    });
    let plugin = gateway.to(plugin.await);
    let mut client = gateway.client().await;
    let flags = END_HEADERS | if body.is_none() { END_STREAM } else { 0 };
    let mut bytes = [opening(), frame(HEADERS, flags, 1, &fields(head))].concat();
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    client.send(bytes).await;
    let refusal = refusal(&mut client).await;
    drop(client);
    until(|| totals(&plugin).in_flight == 0).await;
    let got = got.borrow().clone();
    (refusal, got)
}

#[tokio::test]
async fn answers_what_is_well_formed() {
    let (refusal, seen) = send(&GET, None).await;
    assert!(refusal.is_none() && seen.starts_with("GET /x HTTP/1.1\r\n"), "{refusal:?} {seen}");
    let (refusal, seen) = send(&[POST.as_slice(), &[("content-length", "3")]].concat(), Some("abc")).await;
    assert!(refusal.is_none() && seen.starts_with("POST /x HTTP/1.1\r\n"), "{refusal:?} {seen}");
}

#[tokio::test]
async fn refuses_heads_that_would_mean_something_else_as_text() {
    for extra in [
        ("transfer-encoding", "chunked"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("x", "a\r\nhost: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x: y\r\nz", "a"),
        ("x y", "a"),
        ("", "a"),
        ("host", "b"),
        ("content-length", "3"),
        ("content-length", "-1"),
        ("content-length", "0x0"),
        ("content-length", "0, 0"),
        ("content-length", "+0"),
        ("content-length", ""),
        (":path", "/y"),
        (":unknown", "1"),
    ] {
        let (refusal, seen) = send(&[GET.as_slice(), &[extra]].concat(), None).await;
        assert!(refusal.is_some() && seen.is_empty(), "{extra:?}: {refusal:?} {seen}");
    }
    let hosts = [GET.as_slice(), &[("host", "a"), ("host", "a")]].concat();
    assert_eq!(send(&hosts, None).await.1, "");
    let lengths = [POST.as_slice(), &[("content-length", "3"), ("content-length", "3")]].concat();
    assert_eq!(send(&lengths, Some("abc")).await.1, "");
}

#[tokio::test]
async fn refuses_targets_that_would_mean_something_else_as_text() {
    for (name, value) in [
        (":method", ""),
        (":method", "GET /y HTTP/1.1\r\nx:"),
        (":method", "CONNECT"),
        (":path", ""),
        (":path", "x"),
        (":path", "*"),
        (":path", "http://b/x"),
        (":path", "/x HTTP/1.1\r\nhost: b\r\n\r\nGET /y"),
        (":path", "/a/../x"),
        (":path", "/a b"),
        (":authority", "a@b"),
        (":authority", "a b"),
        (":authority", "a/b"),
        (":authority", "a\r\nx: y"),
    ] {
        let head = GET.map(|field| if field.0 == name { (name, value) } else { field });
        let (refusal, seen) = send(&head, None).await;
        assert!(refusal.is_some() && seen.is_empty(), "{name} {value:?}: {refusal:?} {seen}");
    }
    for missing in [":method", ":scheme", ":authority", ":path"] {
        let head = GET.into_iter().filter(|(name, _)| *name != missing).collect::<Vec<_>>();
        let (refusal, seen) = send(&head, None).await;
        assert!(refusal.is_some() && seen.is_empty(), "{missing}: {refusal:?} {seen}");
    }
}

#[tokio::test]
async fn holds_bodies_to_the_length_that_they_name() {
    for (length, body) in [("5", "abc"), ("2", "abc"), ("0", "abc")] {
        let (refusal, seen) =
            send(&[POST.as_slice(), &[("content-length", length)]].concat(), Some(body)).await;
        let sent = seen.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(refusal.is_some(), "{length}: {seen}");
        assert!(sent.len() < length.parse().unwrap() || sent.is_empty(), "a whole body: {length}: {seen}");
    }
}

#[tokio::test]
async fn waits_for_the_rest_of_a_preface() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let request = [opening(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&GET))].concat();
    let mut client = gateway.client().await;
    for part in [&request[..1], &request[1..20]] {
        client.send(part).await;
        // More than a tick passes, so that each part is looked at alone.
        assert!(timeout(Duration::from_millis(250), client.stream.peek(&mut [0; 1])).await.is_err());
    }
    client.send(&request[20..]).await;
    assert_eq!(refusal(&mut client).await, None);
    let almost = gateway.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX").await;
    assert!(almost.is_empty() || status(&almost) == 400, "{almost}");
    let post = gateway.ask("PRIZE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&post), 200);
}

#[tokio::test]
async fn closes_connections_that_send_their_preface_too_slowly_or_nothing() {
    let settings = Settings {
        head_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(400),
        ..Settings::default()
    };
    let gateway = Gateway::with(settings);
    let mut slow = gateway.client().await;
    slow.send("PRI * HTTP").await;
    assert_eq!(slow.rest().await, "");
    assert_eq!(gateway.client().await.rest().await, "");
}

#[tokio::test]
async fn refuses_heads_that_are_too_large() {
    let gateway = Gateway::new();
    let plugin = gateway.to(mirror().await);
    let mut client = gateway.client().await;
    let padding = "y".repeat(100);
    let block = fields(&GET.into_iter().chain((0..120).map(|_| ("x", padding.as_str()))).collect::<Vec<_>>());
    let mut bytes = [opening(), frame(HEADERS, END_STREAM, 1, &block)].concat();
    const CONTINUATION: u8 = 9;
    for _ in 0..8 {
        bytes.extend(frame(CONTINUATION, 0, 1, &fields(&[("x", padding.as_str()); 120])));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
    client.send(bytes).await;
    assert!(refusal(&mut client).await.is_some());
    assert_eq!(totals(&plugin).in_flight, 0);
}
