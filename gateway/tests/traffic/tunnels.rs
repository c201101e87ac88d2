//! Connections that change their protocol.

use tokio::io::AsyncReadExt;

use crate::harness::*;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

/// Agrees, says hello at once, and then sends back what it gets.
async fn parrot() -> std::net::SocketAddr {
    origin(|mut peer| async move {
        let head = peer.head().await;
        assert_eq!(value(&head, "connection"), Some("upgrade"));
        assert_eq!(value(&head, "upgrade"), Some("websocket"));
        assert_eq!(value(&head, "sec-websocket-key"), Some("k"));
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: v\r\n\r\nhello").await;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn carries_a_websocket_both_ways() {
    let gateway = Gateway::new();
    let plugin = gateway.to(parrot().await);
    let mut client = gateway.client().await;
    client.send(UPGRADE).await;
    let head = client.head().await;
    assert_eq!(status(&head), 101);
    assert_eq!(value(&head, "upgrade"), Some("websocket"));
    assert_eq!(value(&head, "sec-websocket-accept"), Some("v"));
    assert_eq!(client.exact(5).await, "hello");
    for text in ["ping\n\n", "transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", "\0\u{1}"] {
        client.send(text).await;
        assert_eq!(client.exact(text.len()).await, text);
    }
    assert_eq!(totals(&plugin).in_flight, 1);
    drop(client);
    until(|| totals(&plugin).in_flight == 0).await;
}

#[tokio::test]
async fn closes_the_clients_end_when_the_plugin_closes() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
            .await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send(UPGRADE).await;
    client.head().await;
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn passes_on_that_a_plugin_does_not_change_the_protocol() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = gateway.client().await;
    client.send(UPGRADE).await;
    assert_eq!(status(&client.message().await.0), 200);
    client.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.message().await.1.starts_with("GET /again"));
}

#[tokio::test]
async fn does_not_let_a_client_change_to_http_2_behind_its_back() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n";
    let answer = gateway.ask(request).await;
    let seen = body(&answer);
    assert_eq!((value(seen, "upgrade"), value(seen, "http2-settings")), (None, None));
}
