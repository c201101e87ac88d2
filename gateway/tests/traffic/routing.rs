//! Which plugin a request goes to, and what the gateway answers itself.

use crate::harness::*;

#[tokio::test]
async fn sends_each_request_to_the_plugin_that_has_its_route() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["GET /a/:id", "GET host.example/a/:id"], &[named("A:").await]);
    gateway.plugin("b", &["POST /a/:id", "GET /a/list", "* /files/*rest"], &[named("B:").await]);
    for (request, plugin) in [
        ("GET /a/1", "A:GET /a/1 "),
        ("POST /a/1", "B:POST /a/1 "),
        ("GET /a/list?x=%20y", "B:GET /a/list?x=%20y "),
        ("DELETE /files/a//b/", "B:DELETE /files/a//b/ "),
        ("BREW /files/pot", "B:BREW /files/pot "),
    ] {
        let answer =
            gateway.ask(&format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(body(&answer).starts_with(plugin), "{request}: {answer}");
    }
}

#[tokio::test]
async fn tells_hosts_apart_without_port_and_case() {
    let gateway = Gateway::new();
    gateway.plugin("own", &["GET shop.example/x"], &[named("OWN:").await]);
    gateway.plugin("all", &["GET /x"], &[named("ALL:").await]);
    for (host, plugin) in [("Shop.Example:8080", "OWN:"), ("shop.example", "OWN:"), ("other", "ALL:")] {
        let answer =
            gateway.ask(&format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(body(&answer).starts_with(plugin), "{host}: {answer}");
    }
    let absolute = "GET http://shop.example/x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = gateway.ask(absolute).await;
    assert!(body(&answer).starts_with("OWN:GET /x HTTP/1.1\r\n"), "{answer}");
    assert_eq!(value(body(&answer), "host"), Some("shop.example"));
}

#[tokio::test]
async fn answers_404_where_nobody_has_the_path() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["GET /a"], &[mirror().await]);
    for path in ["/", "/a/", "/b", "/a/b"] {
        let answer = gateway.get(path).await;
        assert_eq!(status(&answer), 404, "{path}");
        assert_eq!(value(&answer, "content-type"), Some("application/problem+json"));
        assert!(body(&answer).contains("no plugin has a route"), "{answer}");
    }
    assert_eq!(unmatched(&gateway.shared).requests[0][3], 4);
}

#[tokio::test]
async fn answers_405_with_all_methods_of_the_path() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["GET /a/b", "PUT /a/:x"], &[mirror().await]);
    let answer = gateway.ask("DELETE /a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 405);
    assert_eq!(value(&answer, "allow"), Some("GET, HEAD, PUT, OPTIONS"));
}

#[tokio::test]
async fn answers_options_itself_unless_a_plugin_does() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["GET /a", "GET /b", "OPTIONS /b", "* /c"], &[mirror().await]);
    let options = |path: &str| format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let own = gateway.ask(&options("/a")).await;
    assert_eq!((status(&own), value(&own, "allow")), (204, Some("GET, HEAD, OPTIONS")));
    for path in ["/b", "/c"] {
        assert!(body(&gateway.ask(&options(path)).await).starts_with("OPTIONS"), "{path}");
    }
    assert_eq!(status(&gateway.ask(&options("*")).await), 204);
    assert_eq!(status(&gateway.ask(&options("/none")).await), 404);
}

#[tokio::test]
async fn has_head_answered_by_the_route_for_get() {
    let gateway = Gateway::new();
    gateway.plugin(
        "a",
        &["GET /a"],
        &[origin(|mut peer| async move {
            let head = peer.head().await;
            assert!(head.starts_with("HEAD /a "));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"x\"\r\n\r\n").await;
            let again = peer.head().await;
            assert!(again.starts_with("HEAD /a "), "the connection is used again");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
        })
        .await],
    );
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!((status(&head), value(&head, "content-length")), (200, Some("12345")));
    }
}

#[tokio::test]
async fn follows_another_snapshot_at_once() {
    let gateway = Gateway::new();
    let mut client = gateway.client().await;
    let request = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(request).await;
    assert_eq!(status(&client.message().await.0), 404);
    gateway.plugin("a", &["GET /a"], &[mirror().await]);
    client.send(request).await;
    assert_eq!(status(&client.message().await.0), 200);
}

#[tokio::test]
async fn spreads_requests_over_the_endpoints() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["GET /a"], &[named("1:").await, named("2:").await]);
    let mut seen = [0, 0];
    for _ in 0..40 {
        seen[usize::from(body(&gateway.get("/a").await).starts_with("2:"))] += 1;
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
}
