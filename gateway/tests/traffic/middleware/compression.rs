//! Answers that are made smaller on their way, and those that must not be.

use std::{
    io::{self, Read},
    sync::Arc,
};

use tokio::{io::AsyncReadExt, sync::Notify};

use super::*;

const PAGE: &str = "Content-Type: text/html; charset=utf-8\r\n";

fn compress() -> serde_json::Value {
    json!([{"name": "smaller", "compress": {"minBytes": 100}}])
}

/// A plugin whose answers have these headers and a body of this length.
async fn pages(headers: &'static str, length: usize) -> std::net::SocketAddr {
    origin(move |mut peer| async move {
        peer.head().await;
        let body = "x".repeat(length);
        peer.send(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}")).await;
    })
    .await
}

/// The head of the answer and its body, which HTTP/1.0 has without a framing.
async fn ask(gateway: &Gateway, headers: &str) -> (String, Vec<u8>) {
    let mut client = gateway.client().await;
    client.send(format!("GET /x HTTP/1.0\r\nHost: a\r\n{headers}\r\n")).await;
    let head = client.head().await;
    let mut body = Vec::new();
    tokio::time::timeout(PATIENCE, client.stream.read_to_end(&mut body)).await.unwrap().unwrap();
    (head, body)
}

fn decoded(encoding: &str, bytes: &[u8]) -> String {
    let mut decoder: Box<dyn Read + '_> = match encoding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => Box::new(zstd::Decoder::new(bytes).unwrap()),
        other => panic!("{other}"),
    };
    io::read_to_string(&mut decoder).unwrap()
}

#[tokio::test]
async fn makes_answers_smaller_in_the_encoding_that_is_asked_for() {
    let gateway = Gateway::new();
    let page = pages("Content-Type: text/html\r\nETag: \"v1\"\r\nVary: Cookie\r\n", 300_000).await;
    gateway.behind(compress(), page);
    for (accepted, encoding) in [("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br, zstd", "zstd")] {
        let (head, bytes) = ask(&gateway, &format!("Accept-Encoding: {accepted}\r\n")).await;
        assert_eq!(value(&head, "content-encoding"), Some(encoding), "{head}");
        assert_eq!(value(&head, "content-length"), None, "{head}");
        assert_eq!(value(&head, "etag"), Some("W/\"v1\""), "{head}");
        assert!(head.contains("vary: Cookie") && head.contains("vary: Accept-Encoding"), "{head}");
        assert!(bytes.len() < 10_000, "{}", bytes.len());
        assert_eq!(decoded(encoding, &bytes), "x".repeat(300_000));
    }
    let (head, bytes) = ask(&gateway, "").await;
    assert_eq!((value(&head, "content-encoding"), bytes.len()), (None, 300_000));
    assert!(head.contains("vary: Accept-Encoding") && value(&head, "etag") == Some("\"v1\""), "{head}");
}

#[tokio::test]
async fn leaves_alone_what_must_stay_as_it_is() {
    for (headers, length) in [
        ("Content-Type: text/html\r\n", 99),
        ("Content-Type: text/event-stream\r\n", 1000),
        ("Content-Type: image/png\r\n", 1000),
        ("", 1000),
        ("Content-Type: text/html\r\nContent-Encoding: br\r\n", 1000),
        ("Content-Type: text/html\r\nCache-Control: private, No-Transform\r\n", 1000),
        ("Content-Type: text/html\r\nContent-Digest: sha-256=:x:\r\n", 1000),
        ("Content-Type: text/html\r\nContent-Range: bytes 0-999/2000\r\n", 1000),
    ] {
        let gateway = Gateway::new();
        gateway.behind(compress(), pages(headers, length).await);
        let (head, bytes) = ask(&gateway, "Accept-Encoding: gzip\r\n").await;
        assert!(
            value(&head, "content-encoding") != Some("gzip") && bytes.len() == length,
            "{headers}: {head}"
        );
    }
    let gateway = Gateway::new();
    gateway.behind(compress(), pages(PAGE, 1000).await);
    let (head, bytes) = ask(&gateway, "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n").await;
    assert_eq!((value(&head, "content-encoding"), bytes.len()), (None, 1000));
}

#[tokio::test]
async fn sends_what_there_is_before_it_waits_for_more() {
    let gateway = Gateway::new();
    let slow = origin(|mut peer| async move {
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\n{PAGE}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")).await;
        // Until the client has had it, and is gone.
        peer.rest().await;
    })
    .await;
    gateway.behind(compress(), slow);
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    client.head().await;
    let mut bytes = Vec::new();
    let text = loop {
        bytes.push(tokio::time::timeout(PATIENCE, client.stream.read_u8()).await.unwrap().unwrap());
        let mut text = [0; 5];
        if flate2::read::GzDecoder::new(&bytes[..]).read_exact(&mut text).is_ok() {
            break text;
        }
    };
    assert_eq!(&text, b"first");
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_so_compressed_too() {
    let gateway = Gateway::new();
    let seen = Arc::new(Notify::new());
    let is_seen = seen.clone();
    let broken = origin(move |mut peer| {
        let is_seen = is_seen.clone();
        async move {
            peer.head().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{PAGE}Content-Length: 1000\r\n\r\nhalf")).await;
            is_seen.notified().await;
        }
    });
    gateway.behind(compress(), broken.await);
    let mut client = gateway.client().await;
    client.send(format!("GET /x HTTP/1.1\r\n{CLOSE}Accept-Encoding: gzip\r\n\r\n")).await;
    let head = client.head().await;
    assert_eq!(value(&head, "content-encoding"), Some("gzip"));
    // Not before: a connection that breaks at once can take the head with it.
    seen.notify_one();
    let rest = client.rest().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "its end is missing, and the client can tell");
}
