//! What middleware does to requests and answers, and what clients try to get past it.

use std::time::Duration;

use forward_gateway::data::worker::Settings;
use serde_json::json;

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
    gateway.behind(json!([{"name": "gone", "respond": gone}]), nobody().await);
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
    gateway.behind(chain, nobody().await);
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

mod limits {
    use super::*;

    fn limit(by: serde_json::Value) -> serde_json::Value {
        let mut limit = json!({"requests": 2, "per": "1h"});
        limit.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        json!([{"name": "per-client", "rateLimit": limit}])
    }

    /// The statuses of requests with these headers, one after the other.
    async fn statuses(gateway: &Gateway, headers: &[&str]) -> Vec<u16> {
        let mut statuses = Vec::new();
        for headers in headers {
            statuses.push(status(&get(gateway, headers).await));
        }
        statuses
    }

    #[tokio::test]
    async fn says_what_is_left_and_when_to_come_back() {
        let gateway = Gateway::new();
        gateway.behind(limit(json!({})), mirror().await);
        let answer = get(&gateway, "").await;
        assert_eq!(status(&answer), 200);
        assert_eq!(value(&answer, "ratelimit-policy"), Some("\"per-client\";q=2;w=3600"));
        assert_eq!(value(&answer, "ratelimit"), Some("\"per-client\";r=1;t=1800"));
        get(&gateway, "").await;
        let answer = get(&gateway, "").await;
        assert_eq!(
            (status(&answer), value(&answer, "content-type")),
            (429, Some("application/problem+json"))
        );
        let seconds: u64 = value(&answer, "retry-after").unwrap().parse().unwrap();
        assert!((1790..=1800).contains(&seconds), "{answer}");
        assert!(value(&answer, "ratelimit").unwrap().starts_with("\"per-client\";r=0;t="), "{answer}");
    }

    #[tokio::test]
    async fn no_header_of_a_stranger_makes_another_client_of_it() {
        let gateway = Gateway::new();
        gateway.behind(limit(json!({})), mirror().await);
        let tricks = [
            "X-Forwarded-For: 1.1.1.1\r\n",
            "X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\n",
            "x-FORWARDED-for: 4.4.4.4\r\n",
            "X-Real-Ip: 5.5.5.5\r\nForwarded: for=5.5.5.5\r\n",
        ];
        assert_eq!(statuses(&gateway, &tricks).await, [200, 200, 429, 429]);
    }

    #[tokio::test]
    async fn behind_a_proxy_each_client_has_its_own() {
        let gateway = behind_a_proxy();
        gateway.behind(limit(json!({})), mirror().await);
        let first = "X-Forwarded-For: 198.51.100.1\r\n";
        let forged = "X-Forwarded-For: 6.6.6.6, 198.51.100.1\r\n";
        let other = "X-Forwarded-For: 198.51.100.2\r\n";
        assert_eq!(statuses(&gateway, &[first, forged, first, other]).await, [200, 200, 429, 200]);
        let same_network = [
            "X-Forwarded-For: 2001:db8::1\r\n",
            "X-Forwarded-For: 2001:db8::2\r\n",
            "X-Forwarded-For: 2001:db8::3\r\n",
        ];
        assert_eq!(statuses(&gateway, &same_network).await, [200, 200, 429]);
    }

    #[tokio::test]
    async fn counts_by_a_header_in_any_case_and_without_it_by_address() {
        let gateway = Gateway::new();
        gateway.behind(limit(json!({"by": "Header", "header": "X-Api-Key"})), mirror().await);
        assert_eq!(
            statuses(
                &gateway,
                &["X-Api-Key: a\r\n", "x-api-key: a\r\n", "X-API-KEY: a\r\n", "X-Api-Key: b\r\n"]
            )
            .await,
            [200, 200, 429, 200]
        );
        let without = ["", "X-Api-Key: c\r\nX-Api-Key: d\r\n", "X-Api-Key: e\r\nX-Api-Key: f\r\n"];
        assert_eq!(statuses(&gateway, &without).await, [200, 200, 429]);
    }

    #[tokio::test]
    async fn counts_everyone_together_over_all_threads() {
        let gateway = behind_a_proxy();
        gateway.behind(limit(json!({"by": "Everyone"})), mirror().await);
        let mut passed = 0;
        for client in 0..20 {
            let answer = get(&gateway, &format!("X-Forwarded-For: 198.51.100.{client}\r\n")).await;
            passed += usize::from(status(&answer) == 200);
        }
        assert_eq!(passed, 2);
    }

    #[tokio::test]
    async fn replicas_share_it_out() {
        let gateway = Gateway::new();
        gateway.shared.set_replicas(2);
        gateway.behind(limit(json!({})), mirror().await);
        assert_eq!(statuses(&gateway, &["", ""]).await, [200, 429]);
    }
}

mod cross_origin {
    use super::*;

    const ASK: &str = "Access-Control-Request-Method: GET\r\n";

    fn cors(cors: serde_json::Value) -> serde_json::Value {
        json!([{"name": "pages", "cors": cors}])
    }

    async fn preflight(gateway: &Gateway, headers: &str) -> String {
        gateway.ask(&format!("OPTIONS /x HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await
    }

    #[tokio::test]
    async fn answers_the_browsers_question_for_a_route_that_has_no_options() {
        let gateway = Gateway::new();
        let chain = chain(cors(json!({
            "origins": ["https://shop.example"], "headers": ["X-Tenant"], "credentials": true, "maxAge": "10m",
        })));
        gateway.plugin_with("a", &["GET /x"], &[nobody().await], Some(chain));
        let answer = preflight(&gateway, &format!("Origin: https://shop.example\r\n{ASK}")).await;
        assert_eq!(status(&answer), 204, "{answer}");
        for (name, expected) in [
            ("access-control-allow-origin", "https://shop.example"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", "X-Tenant"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
            ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ] {
            assert_eq!(value(&answer, name), Some(expected), "{name}");
        }
        let delete = "Origin: https://shop.example\r\nAccess-Control-Request-Method: DELETE\r\n";
        let answer = preflight(&gateway, delete).await;
        assert_eq!(
            (status(&answer), value(&answer, "access-control-allow-origin")),
            (204, None),
            "no such route"
        );
        assert_eq!(value(&preflight(&gateway, "").await, "allow"), Some("GET, HEAD, OPTIONS"));
    }

    #[tokio::test]
    async fn tells_no_other_origin_that_it_may() {
        let gateway = Gateway::new();
        gateway.behind(cors(json!({"origins": ["https://shop.example"]})), mirror().await);
        for origin in [
            "null",
            "https://shop.example.evil",
            "https://SHOP.example",
            "http://shop.example",
            "https://shop.example:444",
            "https://shop.example\r\nOrigin: https://evil.example",
            "",
        ] {
            let answer = preflight(&gateway, &format!("Origin: {origin}\r\n{ASK}")).await;
            assert_eq!(status(&answer), 403, "{origin}");
            let answer = get(&gateway, &format!("Origin: {origin}\r\n")).await;
            assert_eq!(
                (status(&answer), value(&answer, "access-control-allow-origin")),
                (200, None),
                "{origin}"
            );
            assert_eq!(value(&answer, "vary"), Some("Origin"), "{origin}");
        }
    }

    #[tokio::test]
    async fn replaces_what_the_plugin_says_and_tells_caches() {
        let gateway = Gateway::new();
        let careless = origin(|mut peer| async move {
            peer.head().await;
            peer.send(
                "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
                 Vary: Accept\r\nContent-Length: 2\r\n\r\nok",
            )
            .await;
        })
        .await;
        let rule = json!({"origins": ["https://shop.example"], "exposeHeaders": ["ETag"]});
        gateway.behind(cors(rule), careless);
        let answer = get(&gateway, "").await;
        assert_eq!(value(&answer, "access-control-allow-origin"), None);
        assert_eq!(value(&answer, "access-control-allow-credentials"), None);
        assert!(answer.contains("vary: Accept") && answer.contains("vary: Origin"), "{answer}");
        let answer = get(&gateway, "Origin: https://shop.example\r\n").await;
        assert_eq!(value(&answer, "access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(value(&answer, "access-control-expose-headers"), Some("ETag"));
    }

    #[tokio::test]
    async fn lets_pages_read_problems_too() {
        let gateway = Gateway::new();
        gateway.behind(cors(json!({"origins": ["*"]})), nobody().await);
        let answer = get(&gateway, "Origin: null\r\n").await;
        assert_eq!((status(&answer), value(&answer, "access-control-allow-origin")), (503, Some("*")));
    }

    #[tokio::test]
    async fn refuses_credentials_for_everybody() {
        let gateway = Gateway::new();
        gateway.behind(cors(json!({"origins": ["*"], "credentials": true})), mirror().await);
        assert_eq!(status(&get(&gateway, "Origin: https://evil.example\r\n").await), 503);
    }
}

mod timeouts {
    use super::*;

    #[tokio::test]
    async fn ends_a_wait_for_an_answer_that_the_gateway_would_wait_for() {
        let gateway = Gateway::new();
        let mute = origin(|mut peer| async move { drop(peer.rest().await) }).await;
        gateway.behind(json!([{"name": "t", "timeout": {"answer": "200ms"}}]), mute);
        let answer = get(&gateway, "").await;
        assert!(status(&answer) == 504 && body(&answer).contains("did not answer in time"), "{answer}");
    }

    #[tokio::test]
    async fn breaks_off_an_answer_that_stalls() {
        let gateway = Gateway::new();
        let stalls = origin(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            peer.rest().await;
        })
        .await;
        gateway.behind(json!([{"name": "t", "timeout": {"stall": "300ms"}}]), stalls);
        let answer = get(&gateway, "").await;
        assert_eq!((status(&answer), body(&answer)), (200, "half"));
    }

    #[tokio::test]
    async fn bears_an_answer_that_is_slow_and_goes_on() {
        let gateway = Gateway::new();
        let slow = origin(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                peer.send("x").await;
            }
        })
        .await;
        gateway.behind(json!([{"name": "t", "timeout": {"stall": "500ms"}}]), slow);
        assert_eq!(body(&get(&gateway, "").await), "xxxxxxxx");
    }
}
