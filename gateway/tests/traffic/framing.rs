//! Requests that two servers could read differently are refused, and nothing of them reaches a
//! plugin.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use forward_gateway::data::worker::Settings;

use crate::harness::*;

/// Sends it, and answers with the statuses that came and how many requests the plugin saw.
async fn attack(request: &str) -> (Vec<u16>, usize) {
    let gateway = Gateway::new();
    let (plugin, seen) = counting().await;
    gateway.to(plugin);
    let mut client = gateway.client().await;
    client.send(request).await;
    let answer = client.rest().await;
    let statuses = answer.split("HTTP/1.1 ").skip(1).map(|part| part[..3].parse().unwrap()).collect();
    (statuses, seen.load(Ordering::Relaxed))
}

#[tokio::test]
async fn refuses_two_framings_in_one_request() {
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "transfer-encoding: Chunked\r\nX-Padding: 1\r\ncontent-length: 0",
    ] {
        let request = format!(
            "POST /x HTTP/1.1\r\nHost: a\r\n{both}\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        assert_eq!(attack(&request).await, (vec![400], 0), "{both}");
    }
}

#[tokio::test]
async fn refuses_lengths_that_differ_or_are_no_numbers() {
    // So far behind its name that not every server finds it.
    let padded = format!("Content-Length:{}4", " ".repeat(200));
    for lengths in [
        &*padded,
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: -1",
        "Content-Length: 3 3",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
    ] {
        let (statuses, seen) = attack(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\nabcd")).await;
        assert_eq!((statuses, seen), (vec![400], 0), "{lengths}");
    }
}

#[tokio::test]
async fn refuses_encodings_other_than_chunked() {
    for encoding in ["gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked, identity"]
    {
        let request =
            format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {encoding}\r\n\r\n0\r\n\r\n");
        let (statuses, seen) = attack(&request).await;
        assert!(matches!(statuses[..], [400 | 501]) && seen == 0, "{encoding}: {statuses:?}");
    }
    let twice = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (statuses, seen) = attack(twice).await;
    assert!(matches!(statuses[..], [400 | 501]) && seen == 0, "{statuses:?}");
    let old = "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(attack(old).await.1, 0);
}

#[tokio::test]
async fn refuses_heads_that_are_not_well_formed() {
    for head in [
        "GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
        "GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/%2e%2E/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\u{1}T /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(attack(head).await, (vec![400], 0), "{head:?}");
    }
    assert_eq!(attack("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").await, (vec![501], 0));
}

#[tokio::test]
async fn refuses_heads_that_are_too_large() {
    let many = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
    assert_eq!(attack(&many).await, (vec![431], 0));
    let long = format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    assert_eq!(attack(&long).await.1, 0);
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(100_000));
    assert_eq!(attack(&target).await.1, 0);
}

#[tokio::test]
async fn breaks_off_bodies_whose_chunks_are_malformed() {
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "3\nabc\r\n0\r\n\r\n",
    ] {
        let request = format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let gateway = Gateway::new();
        let whole = Arc::new(AtomicUsize::new(0));
        let counter = whole.clone();
        let plugin = origin(move |mut peer| {
            let counter = counter.clone();
            async move {
                peer.head().await;
                if peer.until("0\r\n\r\n").await.ends_with("0\r\n\r\n") {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        gateway.to(plugin.await);
        let answer = gateway.ask(&request).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{chunks:?}: {answer}");
        assert_eq!(whole.load(Ordering::Relaxed), 0, "{chunks:?}: the plugin got a whole body");
    }
}

#[tokio::test]
async fn closes_connections_that_send_their_heads_too_slowly_or_nothing() {
    let settings = Settings {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        ..Settings::default()
    };
    let gateway = Gateway::with(settings);
    gateway.to(mirror().await);
    let begun = std::time::Instant::now();
    let mut slow = gateway.client().await;
    slow.send("GET /x HTTP/1.1\r\nHos").await;
    slow.rest().await;
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    let mut idle = gateway.client().await;
    idle.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&idle.message().await.0), 200);
    let waited = std::time::Instant::now();
    idle.rest().await;
    assert!(waited.elapsed() >= Duration::from_millis(800), "{:?}", waited.elapsed());
}

#[tokio::test]
async fn answers_requests_that_are_sent_ahead_in_order() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = gateway.client().await;
    let request = |n: u32| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{n}");
    client.send((0..5).map(request).collect::<String>()).await;
    for n in 0..5 {
        let (_, body) = client.message().await;
        assert!(body.starts_with(&format!("POST /{n} ")) && body.ends_with(&n.to_string()), "{body}");
    }
}
