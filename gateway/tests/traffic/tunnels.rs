//! Connections that change their protocol.

use std::time::Duration;

use bytes::Bytes;
use forward_gateway::data::worker::Settings;
use h2::{RecvStream, SendStream, ext::Protocol};
use http::{Method, Response, StatusCode};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{harness::*, http2::Client};

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

/// Asks for a WebSocket over HTTP/2.
async fn open(client: &mut Client, protocol: &'static str) -> (Response<RecvStream>, SendStream<Bytes>) {
    until(|| client.requests.is_extended_connect_protocol_enabled()).await;
    let mut request =
        crate::http2::request(Method::CONNECT, "/ws").header("sec-websocket-version", "13").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    let (answer, stream) = client.requests.send_request(request, false).unwrap();
    (timeout(PATIENCE, answer).await.unwrap().unwrap(), stream)
}

async fn next(stream: &mut RecvStream) -> Option<Bytes> {
    let data = timeout(PATIENCE, stream.data()).await.unwrap()?.unwrap();
    stream.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

#[tokio::test]
async fn carries_a_websocket_over_http_2() {
    let settings = Settings {
        head_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let gateway = Gateway::with(settings);
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
        assert_eq!(value(&head, "connection"), Some("upgrade"));
        assert_eq!(value(&head, "upgrade"), Some("websocket"));
        assert_eq!(value(&head, "sec-websocket-version"), Some("13"));
        let key = value(&head, "sec-websocket-key").unwrap();
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: v\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello").await;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let plugin = gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let (answer, mut stream) = open(&mut client, "websocket").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut answers = answer.into_body();
    assert_eq!(next(&mut answers).await.unwrap(), "hello");
    // Longer than the connection may be idle: a tunnel is not idle.
    assert!(timeout(Duration::from_secs(2), answers.data()).await.is_err());
    stream.send_data(Bytes::from_static(b"ping"), false).unwrap();
    assert_eq!(next(&mut answers).await.unwrap(), "ping");
    assert_eq!(totals(&plugin).in_flight, 1);
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(next(&mut answers).await.unwrap_or_default(), "");
    until(|| totals(&plugin).in_flight == 0).await;
}

#[tokio::test]
async fn opens_no_tunnel_over_http_2_where_the_plugin_does_not_agree() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = Client::connect(&gateway).await;
    assert_eq!(open(&mut client, "websocket").await.0.status(), StatusCode::BAD_REQUEST);
    assert_eq!(open(&mut client, "other").await.0.status(), StatusCode::NOT_IMPLEMENTED);
}
