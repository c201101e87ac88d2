//! What middleware does to requests and answers, and what clients try to get past it.

mod breakers;
mod bulkheads;
mod compression;
mod cross_origin;
mod fallbacks;
mod hedges;
mod limits;
mod logging;
mod plugins;
mod retries;
mod timeouts;
mod validation;

use std::time::Duration;

use forward_gateway::data::worker::{AccessLog, Settings};
use serde_json::{Value, json};

use crate::harness::*;

const CLOSE: &str = "Host: a\r\nConnection: close\r\n";

/// A gateway that believes the tests' clients to be proxies.
fn behind_a_proxy() -> Gateway {
    Gateway::with(Settings { trusted: vec!["127.0.0.0/8".parse().unwrap()], ..Settings::default() })
}

/// What a GET with these headers is answered.
async fn get(gateway: &Gateway, headers: &str) -> String {
    gateway.ask(&format!("GET /x?q=1 HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await
}

#[tokio::test]
async fn changes_headers_both_ways_and_those_of_its_own_answers() {
    let gateway = Gateway::new();
    let changes = json!({
        "request": {"remove": ["Cookie"], "set": [{"name": "X-Tenant", "value": "shop"}], "add": [{"name": "Via", "value": "1.1 shop"}]},
        "response": {"remove": ["Server"], "set": [{"name": "X-Frame-Options", "value": "DENY"}]},
    });
    let plugin = gateway.behind(json!([{"name": "h", "headers": changes}]), mirror().await);
    let answer =
        get(&gateway, "Cookie: a=b\r\ncookie: c=d\r\nx-tenant: mine\r\nX-TENANT: other\r\nVia: 1.0 x\r\n")
            .await;
    let seen = body(&answer);
    assert_eq!(value(seen, "cookie"), None);
    assert_eq!(seen.matches("x-tenant").count(), 1, "{seen}");
    assert_eq!(value(seen, "x-tenant"), Some("shop"));
    assert!(seen.contains("via: 1.0 x") && seen.contains("via: 1.1 shop"), "{seen}");
    assert_eq!(value(&answer, "x-frame-options"), Some("DENY"));
    plugin.set_unhealthy(true);
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), value(&answer, "x-frame-options")), (503, Some("DENY")));
}

#[tokio::test]
async fn lets_in_by_address_and_believes_strangers_nothing() {
    let gateway = Gateway::new();
    gateway.behind(json!([{"name": "ips", "ipFilter": {"allow": ["203.0.113.0/24"]}}]), mirror().await);
    for headers in [
        "",
        "X-Forwarded-For: 203.0.113.9\r\n",
        "X-Real-IP: 203.0.113.9\r\n",
        "Forwarded: for=203.0.113.9\r\n",
    ] {
        let answer = get(&gateway, headers).await;
        assert!(status(&answer) == 403 && body(&answer).contains("address"), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn takes_the_last_address_that_a_trusted_proxy_vouches_for() {
    let gateway = behind_a_proxy();
    let filter = json!({"allow": ["203.0.113.0/24", "127.0.0.0/8"], "deny": ["203.0.113.66/32"]});
    gateway.behind(json!([{"name": "ips", "ipFilter": filter}]), mirror().await);
    for (headers, expected) in [
        ("X-Forwarded-For: 203.0.113.9\r\n", 200),
        ("X-Forwarded-For: 203.0.113.66\r\n", 403),
        ("X-Forwarded-For: 203.0.113.9, 198.51.100.1\r\n", 403),
        ("X-Forwarded-For: 203.0.113.9\r\nx-forwarded-for: 198.51.100.1\r\n", 403),
        ("X-Forwarded-For: 198.51.100.1\r\nX-FORWARDED-FOR: 203.0.113.9\r\n", 200),
        ("X-Forwarded-For: 198.51.100.1, 203.0.113.66, 127.0.0.1\r\n", 403),
        ("", 200),
    ] {
        let answer = get(&gateway, headers).await;
        assert_eq!(status(&answer), expected, "{headers}");
    }
}

#[tokio::test]
async fn refuses_bodies_that_are_too_large_however_they_come() {
    let gateway = Gateway::new();
    gateway.behind(json!([{"name": "small", "bodyLimit": {"maxBytes": 5}}]), mirror().await);
    let post = |headers: &str, body: &str| format!("POST /x HTTP/1.1\r\n{CLOSE}{headers}\r\n{body}");
    let answer = gateway.ask(&post("Content-Length: 5\r\n", "12345")).await;
    assert!(status(&answer) == 200 && answer.ends_with("12345"), "{answer}");
    let declared = gateway.ask(&post("Content-Length: 6\r\n", "")).await;
    assert!(status(&declared) == 413 && body(&declared).contains("at most 5 bytes"), "{declared}");
    let expected = gateway.ask(&post("Content-Length: 6\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(status(&expected), 413, "{expected}");
    let chunked = gateway.ask(&post("Transfer-Encoding: chunked\r\n", "3\r\n123\r\n3\r\n456\r\n")).await;
    assert!(status(&chunked) == 413 && value(&chunked, "connection") == Some("close"), "{chunked}");
}

#[tokio::test]
async fn redirects_to_https_once() {
    let gateway = behind_a_proxy();
    gateway.behind(json!([{"name": "tls", "redirect": {"scheme": "https", "status": 308}}]), mirror().await);
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), value(&answer, "location")), (308, Some("https://a/x?q=1")));
    assert_eq!(status(&get(&gateway, "X-Forwarded-Proto: https\r\n").await), 200);
    let stranger = Gateway::new();
    stranger.behind(json!([{"name": "tls", "redirect": {"scheme": "https", "status": 301}}]), mirror().await);
    assert_eq!(status(&get(&stranger, "X-Forwarded-Proto: https\r\n").await), 301);
}

#[tokio::test]
async fn answers_by_itself_without_the_plugin() {
    let gateway = Gateway::new();
    let gone = json!({"status": 410, "body": "{\"gone\":true}", "contentType": "application/json"});
    gateway.behind(json!([{"name": "gone", "respond": gone}]), nobody());
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), body(&answer)), (410, "{\"gone\":true}"));
    assert_eq!(value(&answer, "content-type"), Some("application/json"));
    let head = gateway.ask(&format!("HEAD /x HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert_eq!((status(&head), body(&head)), (410, ""));
}

#[tokio::test]
async fn acts_in_the_order_of_phases_and_tells_of_limits_whatever_comes_after() {
    let gateway = Gateway::new();
    let chain = json!([
        {"name": "a", "respond": {"status": 204}},
        {"name": "b", "rateLimit": {"requests": 1, "per": "1h"}},
        {"name": "c", "ipFilter": {"deny": ["10.0.0.0/8"]}},
        {"name": "d", "priority": 1, "headers": {"response": {"set": [{"name": "X-Seen", "value": "d"}]}}},
    ]);
    gateway.behind(chain, nobody());
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), value(&answer, "x-seen")), (204, Some("d")));
    assert_eq!(value(&answer, "ratelimit"), Some("\"b\";r=0;t=3600"));
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), value(&answer, "x-seen")), (429, None), "it did not come that far");
}

#[tokio::test]
async fn nothing_goes_past_an_entry_that_cannot_be_carried_out() {
    let gateway = Gateway::new();
    gateway.behind(json!([{"name": "odd", "ipFilter": {"allow": ["10.0.0.0/99"]}}]), mirror().await);
    let answer = get(&gateway, "").await;
    assert!(status(&answer) == 503 && body(&answer).contains("middleware odd"), "{answer}");
}

#[tokio::test]
async fn a_client_cannot_have_taken_off_what_an_entry_sets() {
    let gateway = Gateway::new();
    let entry =
        json!([{"name": "tenant", "headers": {"request": {"set": [{"name": "X-Tenant", "value": "shop"}]}}}]);
    gateway.behind(entry, mirror().await);
    let request =
        "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Tenant, X-Request-Id\r\nX-Tenant: mine\r\n\r\n";
    let answer = gateway.ask(request).await;
    assert_eq!(value(body(&answer), "x-tenant"), Some("shop"), "{answer}");
    assert!(value(body(&answer), "x-request-id").is_some(), "{answer}");
}
