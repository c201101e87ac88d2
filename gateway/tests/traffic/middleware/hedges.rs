//! Which requests are sent to a second pod before the first has answered, and who is heard then.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use forward_gateway::data::{snapshot::Plugin, stats::Measure};
use tokio::{io::AsyncReadExt, time::timeout};

use super::*;

/// A pod that takes its time.
#[derive(Clone, Default)]
struct Pod {
    asked: Arc<AtomicUsize>,
    /// How often nobody waited any more.
    left: Arc<AtomicUsize>,
}

impl Pod {
    /// Answers with this status and its number; with the status 0 it breaks off.
    async fn start(&self, number: usize, after: Duration, status: u16) -> SocketAddr {
        let pod = self.clone();
        origin(move |mut peer| {
            let pod = pod.clone();
            async move {
                while !peer.head().await.is_empty() {
                    pod.asked.fetch_add(1, Relaxed);
                    if timeout(after, peer.stream.read_u8()).await.is_ok() {
                        pod.left.fetch_add(1, Relaxed);
                        return;
                    }
                    if status == 0 {
                        return;
                    }
                    peer.send(format!("HTTP/1.1 {status} Odd\r\nContent-Length: 1\r\n\r\n{number}")).await;
                }
            }
        })
        .await
    }
}

const LONG: Duration = Duration::from_secs(10);

/// Two pods, of which the first is asked first, and an entry for them.
async fn behind(
    gateway: &Gateway,
    policy: serde_json::Value,
    pods: [(u64, u16); 2],
) -> (Arc<Plugin>, [Pod; 2]) {
    let kept = [Pod::default(), Pod::default()];
    let mut addresses = Vec::new();
    for (number, (millis, status)) in pods.into_iter().enumerate() {
        addresses.push(kept[number].start(number + 1, Duration::from_millis(millis), status).await);
    }
    let entries =
        json!([{"name": "again", "retry": policy}, {"name": "never", "circuitBreaker": {"failures": 0}}]);
    let plugin = gateway.behind_all(entries, &addresses);
    plugin.endpoints()[1].in_flight.fetch_add(1, Relaxed);
    (plugin, kept)
}

fn measured(plugin: &Plugin, measure: Measure) -> u64 {
    totals(plugin).measures[measure as usize]
}

#[tokio::test]
async fn hears_the_second_pod_where_the_first_takes_long_and_breaks_that_off() {
    let gateway = Gateway::new();
    let (plugin, [slow, quick]) =
        behind(&gateway, json!({"hedgeAfter": "100ms"}), [(60_000, 200), (0, 200)]).await;
    let begun = Instant::now();
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), body(&answer)), (200, "2"), "{answer}");
    assert!(begun.elapsed() < LONG);
    until(|| slow.left.load(Relaxed) == 1).await;
    assert_eq!((slow.asked.load(Relaxed), quick.asked.load(Relaxed)), (1, 1));
    assert_eq!(measured(&plugin, Measure::Hedge), 1);
    until(|| plugin.endpoints()[0].in_flight.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn hears_the_first_pod_where_that_is_faster_after_all() {
    let gateway = Gateway::new();
    let (_, [_, slow]) = behind(&gateway, json!({"hedgeAfter": "50ms"}), [(500, 200), (60_000, 200)]).await;
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), body(&answer)), (200, "1"), "{answer}");
    until(|| slow.left.load(Relaxed) == 1).await;
}

#[tokio::test]
async fn asks_nobody_else_without_need_or_where_that_could_do_harm() {
    let cases = [
        (json!({"hedgeAfter": "30s"}), "GET /x HTTP/1.1\r\n"),
        (json!({}), "GET /x HTTP/1.1\r\n"),
        (json!({"hedgeAfter": "50ms"}), "DELETE /x HTTP/1.1\r\n"),
        (json!({"hedgeAfter": "50ms"}), "POST /x HTTP/1.1\r\n"),
        (json!({"hedgeAfter": "50ms"}), "GET /x HTTP/1.1\r\nUpgrade: foo\r\nConnection: upgrade\r\n"),
    ];
    for (policy, request) in cases {
        let gateway = Gateway::new();
        let (plugin, [_, other]) = behind(&gateway, policy.clone(), [(400, 200), (0, 200)]).await;
        let mut client = gateway.client().await;
        client.send(format!("{request}Host: test\r\n\r\n")).await;
        assert_eq!(client.head().await.split(' ').nth(1), Some("200"), "{policy} {request}");
        assert_eq!(
            (other.asked.load(Relaxed), measured(&plugin, Measure::Hedge)),
            (0, 0),
            "{policy} {request}"
        );
    }
}

/// The first pod and the second, and what the client gets of it.
#[tokio::test]
async fn one_that_fails_leaves_it_to_the_other() {
    for (first, second, expected) in [
        ((400, 0), (800, 200), (200, "2")),
        ((800, 200), (0, 0), (200, "1")),
        ((800, 200), (0, 503), (200, "1")),
        ((400, 503), (800, 0), (503, "1")),
        ((800, 0), (0, 503), (503, "2")),
    ] {
        let gateway = Gateway::new();
        let policy = json!({"hedgeAfter": "50ms", "statuses": [503]});
        behind(&gateway, policy, [first, second]).await;
        let answer = get(&gateway, "").await;
        assert_eq!((status(&answer), body(&answer)), expected, "{first:?} {second:?}: {answer}");
    }
    let gateway = Gateway::new();
    behind(&gateway, json!({"hedgeAfter": "50ms"}), [(400, 0), (0, 0)]).await;
    assert_eq!(status(&get(&gateway, "").await), 502, "there is no third one");
}

#[tokio::test]
async fn counts_as_sent_once_more_and_spends_the_budget() {
    let gateway = Gateway::new();
    let policy = json!({"hedgeAfter": "1ms", "attempts": 1, "budgetPercent": 0});
    let (plugin, [slow, _]) = behind(&gateway, policy, [(300, 200), (0, 200)]).await;
    for _ in 0..40 {
        assert_eq!(status(&get(&gateway, "").await), 200);
    }
    let hedged = measured(&plugin, Measure::Hedge);
    // Ten in each ten seconds, over so many threads.
    assert!(hedged > 0 && hedged < 40 && measured(&plugin, Measure::Forgo) > 0, "{hedged}");
    assert_eq!(slow.asked.load(Relaxed), 40);
}
