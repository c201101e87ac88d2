//! How often clients may ask, and what they try to ask more often.

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
    assert_eq!((status(&answer), value(&answer, "content-type")), (429, Some("application/problem+json")));
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
        statuses(&gateway, &["X-Api-Key: a\r\n", "x-api-key: a\r\n", "X-API-KEY: a\r\n", "X-Api-Key: b\r\n"])
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
