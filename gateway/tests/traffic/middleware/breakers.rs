//! Pods that fail are left alone for a while.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use forward_gateway::data::{
    snapshot::Plugin,
    stats::{Measure, UpstreamError},
};
use http::Method;

use super::*;
use crate::http2::{Client, request};

fn breaker(policy: serde_json::Value) -> serde_json::Value {
    json!([{"name": "breaker", "circuitBreaker": policy}])
}

fn ejections(plugin: &Plugin) -> u64 {
    totals(plugin).measures[Measure::Eject as usize]
}

/// Ask until something holds; what else was answered than 200 until then.
async fn ask_until(gateway: &Gateway, mut holds: impl FnMut() -> bool) -> Vec<u16> {
    let mut others = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while !holds() {
            others.push(status(&get(gateway, "").await));
        }
    })
    .await
    .unwrap();
    others.retain(|status| *status != 200);
    others
}

/// Ask until a pod answers with this.
async fn until_answered_by(gateway: &Gateway, name: &str) {
    tokio::time::timeout(PATIENCE, async { while body(&get(gateway, "").await) != name {} }).await.unwrap();
}

#[tokio::test]
async fn ejects_a_pod_that_breaks_connections_and_asks_the_others() {
    let gateway = Gateway::new();
    let asked = Arc::default();
    let policy = json!({"failures": 3, "ejection": "1h", "longestEjection": "1h"});
    let pods = [broken(&asked).await, mirror().await];
    let plugin = gateway.behind_all(breaker(policy), &pods);
    let others = ask_until(&gateway, || plugin.ejected() == 1).await;
    assert_eq!(others, [502; 3]);
    for _ in 0..50 {
        assert_eq!(status(&get(&gateway, "").await), 200);
    }
    assert_eq!((asked.load(Relaxed), ejections(&plugin)), (3, 1));
}

#[tokio::test]
async fn ejects_without_an_entry_what_does_not_accept_connections() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("origin", &["* /*rest"], &[nobody(), mirror().await]);
    let others = ask_until(&gateway, || plugin.ejected() == 1).await;
    assert!(others.is_empty(), "all were sent to the other one: {others:?}");
}

#[tokio::test]
async fn counts_the_statuses_that_are_named_and_passes_them_on() {
    for (named, expected) in [(json!([503]), 1), (json!([500, 502]), 0)] {
        let gateway = Gateway::new();
        let policy = json!({"failures": 2, "statuses": named, "ejection": "1h", "longestEjection": "1h"});
        let plugin = gateway.behind_all(breaker(policy), &[always(503).await, mirror().await]);
        let mut failed = 0;
        for _ in 0..60 {
            let answer = get(&gateway, "").await;
            if status(&answer) == 503 {
                assert_eq!(body(&answer), "odd", "it is the plugin's own answer");
                failed += 1;
            }
        }
        assert_eq!(plugin.ejected(), expected, "{named}");
        assert!(if expected == 1 { failed == 2 } else { failed > 2 }, "{failed} with {named}");
    }
}

#[tokio::test]
async fn lets_a_pod_back_that_answers_again() {
    let gateway = Gateway::new();
    let is_well = Arc::new(AtomicBool::new(false));
    let pod = {
        let is_well = is_well.clone();
        origin(move |mut peer| {
            let is_well = is_well.clone();
            async move {
                while !peer.message().await.0.is_empty() && is_well.load(Relaxed) {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").await;
                }
            }
        })
        .await
    };
    let policy = json!({"failures": 1, "ejection": "100ms", "longestEjection": "100ms"});
    let plugin = gateway.behind_all(breaker(policy), &[pod, mirror().await]);
    ask_until(&gateway, || plugin.ejected() == 1).await;
    is_well.store(true, Relaxed);
    ask_until(&gateway, || plugin.ejected() == 0).await;
    until_answered_by(&gateway, "back").await;
}

#[tokio::test]
async fn never_ejects_the_last_one() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let plugin = gateway.behind(breaker(json!({"failures": 1})), broken(&asked).await);
    for _ in 0..10 {
        assert_eq!(status(&get(&gateway, "").await), 502);
    }
    assert_eq!((asked.load(Relaxed), plugin.ejected()), (10, 0));
}

#[tokio::test]
async fn refuses_at_once_where_all_may_be_ejected() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let policy = json!({"failures": 2, "ejection": "1h", "longestEjection": "1h", "maxEjectedPercent": 100});
    let plugin = gateway.behind(breaker(policy), broken(&asked).await);
    for _ in 0..2 {
        assert_eq!(status(&get(&gateway, "").await), 502);
    }
    let answer = get(&gateway, "").await;
    assert!(status(&answer) == 503 && body(&answer).contains("have failed lately"), "{answer}");
    let seconds: u64 = value(&answer, "retry-after").unwrap().parse().unwrap();
    // The clocks of two threads may be a tick apart.
    assert!((3500..=3601).contains(&seconds), "{answer}");
    assert_eq!(asked.load(Relaxed), 2, "the pod is left alone");
    assert_eq!(totals(&plugin).errors[UpstreamError::CircuitOpen as usize], 1);
}

#[tokio::test]
async fn takes_nothing_amiss_that_the_client_brings_about() {
    let gateway = Gateway::new();
    let policy = json!({"failures": 1, "maxEjectedPercent": 100});
    let plugin = gateway.behind(breaker(policy), mute().await);
    // It goes away.
    let mut client = gateway.client().await;
    client.send(format!("GET /x HTTP/1.1\r\n{CLOSE}\r\n")).await;
    until(|| totals(&plugin).in_flight == 1).await;
    drop(client);
    until(|| totals(&plugin).in_flight == 0).await;
    // It sends what is no body.
    let request = format!("PUT /x HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(status(&gateway.ask(&request).await), 400);
    // It has no patience.
    let mut client = Client::connect(&gateway).await;
    let call = request_of_a_call("50m");
    let answer = client.ask(call, b"").await.unwrap();
    assert_eq!(answer.head.headers()["grpc-status"], "4");
    assert_eq!((plugin.ejected(), ejections(&plugin)), (0, 0));
}

fn request_of_a_call(timeout: &str) -> http::Request<()> {
    let call = request(Method::POST, "/test.Echo/Say").header("content-type", "application/grpc");
    call.header("grpc-timeout", timeout).body(()).unwrap()
}

#[tokio::test]
async fn ejects_for_calls_that_the_plugin_does_not_answer() {
    let gateway = Gateway::new();
    let policy = json!({"failures": 1, "ejection": "1h", "longestEjection": "1h", "maxEjectedPercent": 100});
    let entries = json!([
        {"name": "breaker", "circuitBreaker": policy},
        {"name": "quick", "timeout": {"answer": "200ms"}},
    ]);
    let plugin = gateway.behind(entries, mute().await);
    let mut client = Client::connect(&gateway).await;
    let answer = client.ask(request_of_a_call("1H"), b"").await.unwrap();
    assert_eq!(answer.head.headers()["grpc-status"], "4");
    assert_eq!((plugin.ejected(), ejections(&plugin)), (1, 1));
    let answer = client.ask(request_of_a_call("1H"), b"").await.unwrap();
    assert_eq!(answer.head.headers()["grpc-status"], "14");
}
