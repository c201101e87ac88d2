//! What plugins and clients are told in headers.

use forward_gateway::data::worker::Settings;

use crate::harness::*;

#[tokio::test]
async fn tells_the_plugin_who_asked_and_hides_the_connection() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let answer = gateway
        .ask(
            "GET /x HTTP/1.1\r\nHost: shop.example:81\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             Proxy-Authorization: secret\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nCookie: a=b\r\n\r\n",
        )
        .await;
    let seen = body(&answer);
    assert_eq!(value(seen, "host"), Some("shop.example:81"));
    assert_eq!(value(seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(value(seen, "x-forwarded-host"), Some("shop.example:81"));
    assert_eq!(value(seen, "x-forwarded-proto"), Some("http"));
    assert_eq!(value(seen, "forwarded"), Some("for=127.0.0.1;host=\"shop.example:81\";proto=http"));
    assert_eq!(value(seen, "cookie"), Some("a=b"));
    for gone in ["connection", "x-mine", "keep-alive", "proxy-authorization", "te", "transfer-encoding"] {
        assert_eq!(value(seen, gone), None, "{gone}");
    }
    assert_eq!(value(seen, "traceparent").unwrap().len(), 55);
    assert_eq!(value(seen, "x-request-id"), value(&answer, "x-request-id"));
}

#[tokio::test]
async fn believes_a_trusted_proxy() {
    let settings = Settings { trusted: vec!["127.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let gateway = Gateway::with(settings);
    gateway.to(mirror().await);
    let answer = gateway
        .ask(
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
             X-Request-Id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        )
        .await;
    let seen = body(&answer);
    assert_eq!(value(seen, "x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(value(seen, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(seen, "x-request-id"), Some("mine"));
    assert_eq!(value(seen, "traceparent"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
}

#[tokio::test]
async fn hides_the_plugins_connection_from_the_client() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send(
            "HTTP/1.1 200 Fine\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = client.message().await;
    assert_eq!(body, "ok");
    for gone in ["connection", "x-mine", "keep-alive"] {
        assert_eq!(value(&head, gone), None, "{gone}");
    }
    assert!(head.contains("a=1") && head.contains("b=2"), "{head}");
}

#[tokio::test]
async fn serves_http_1_0() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let answer = gateway.ask("GET /x HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(body(&answer).starts_with("GET /x HTTP/1.1\r\n"), "{answer}");
}
