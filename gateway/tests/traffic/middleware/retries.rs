//! Which requests are sent once more, and how often.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use forward_gateway::data::{snapshot::Plugin, stats::Measure};

use super::*;

/// An entry that repeats, and one that keeps pods that fail from being ejected.
fn retry(policy: serde_json::Value) -> serde_json::Value {
    json!([{"name": "again", "retry": policy}, {"name": "never", "circuitBreaker": {"failures": 0}}])
}

fn measured(plugin: &Plugin, measure: Measure) -> u64 {
    totals(plugin).measures[measure as usize]
}

#[tokio::test]
async fn sends_to_another_pod_what_one_broke_off() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let plugin = gateway
        .behind_all(retry(json!({"budgetPercent": 100})), &[broken(&asked).await, named("other").await]);
    for _ in 0..40 {
        let answer = get(&gateway, "X-Mark: m\r\n").await;
        assert!(status(&answer) == 200 && body(&answer).starts_with("otherGET /x?q=1"), "{answer}");
        assert_eq!(value(&answer[answer.find("other").unwrap()..], "x-mark"), Some("m"));
    }
    let asked = asked.load(Relaxed) as u64;
    assert!(asked > 0 && measured(&plugin, Measure::Repeat) == asked, "{asked}");
}

#[tokio::test]
async fn sends_once_what_is_not_idempotent_or_has_a_body() {
    for request in ["POST /x HTTP/1.1\r\n", "PUT /x HTTP/1.1\r\nContent-Length: 3\r\n"] {
        let gateway = Gateway::new();
        let asked: Arc<AtomicUsize> = Arc::default();
        let pods = [broken(&asked).await, broken(&asked).await];
        let plugin = gateway.behind_all(retry(json!({"attempts": 5, "budgetPercent": 100})), &pods);
        let sent = if request.starts_with("PUT") { "abc" } else { "" };
        assert_eq!(status(&gateway.ask(&format!("{request}{CLOSE}\r\n{sent}")).await), 502, "{request}");
        assert_eq!((asked.load(Relaxed), measured(&plugin, Measure::Repeat)), (1, 0), "{request}");
    }
}

#[tokio::test]
async fn sends_to_each_pod_once_and_to_no_more_than_it_may() {
    for (pods, attempts, expected) in [(1, 5, 1), (3, 5, 3), (4, 2, 3), (3, 1, 2)] {
        let gateway = Gateway::new();
        let asked: Arc<AtomicUsize> = Arc::default();
        let mut addresses = Vec::new();
        for _ in 0..pods {
            addresses.push(broken(&asked).await);
        }
        gateway.behind_all(retry(json!({"attempts": attempts, "budgetPercent": 100})), &addresses);
        assert_eq!(status(&get(&gateway, "").await), 502);
        assert_eq!(asked.load(Relaxed), expected, "{attempts} more with {pods} pods");
    }
}

#[tokio::test]
async fn repeats_after_the_statuses_that_are_named_and_no_other() {
    for (named, repeats) in [(json!([503]), true), (json!([500]), false)] {
        let gateway = Gateway::new();
        let policy = json!({"causes": [], "statuses": named, "budgetPercent": 100});
        let plugin = gateway.behind_all(retry(policy), &[always(503).await, mirror().await]);
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(status(&get(&gateway, "").await));
        }
        assert_eq!(statuses.contains(&503), !repeats, "{named}");
        assert_eq!(measured(&plugin, Measure::Repeat) > 0, repeats, "{named}");
    }
    let gateway = Gateway::new();
    gateway.behind(retry(json!({"causes": [], "statuses": [503]})), always(503).await);
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), body(&answer)), (503, "odd"), "there is no other pod");
}

#[tokio::test]
async fn an_answer_that_was_there_is_given_where_sending_once_more_brings_none() {
    let asked: Arc<AtomicUsize> = Arc::default();
    for other in [nobody(), broken(&asked).await] {
        let gateway = Gateway::new();
        let policy = json!({"causes": [], "statuses": [503], "budgetPercent": 100});
        let plugin = gateway.behind_all(retry(policy), &[always(503).await, other]);
        // The endpoint that has nothing under way, of the two.
        plugin.endpoints()[1].in_flight.fetch_add(1, Relaxed);
        let answer = get(&gateway, "").await;
        assert_eq!((status(&answer), body(&answer)), (503, "odd"), "{answer}");
        assert_eq!(measured(&plugin, Measure::Repeat), 1);
    }
}

#[tokio::test]
async fn repeats_what_was_not_answered_in_time_where_that_is_named() {
    for (cause, expected) in [("Timeout", 200), ("Broken", 504)] {
        let gateway = Gateway::new();
        let mut entries = retry(json!({"causes": [cause], "budgetPercent": 100}));
        entries.as_array_mut().unwrap().push(json!({"name": "quick", "timeout": {"answer": "200ms"}}));
        let plugin = gateway.behind_all(entries, &[mute().await, mirror().await]);
        // The endpoint that has nothing under way, of the two.
        plugin.endpoints()[1].in_flight.fetch_add(1, Relaxed);
        assert_eq!(status(&get(&gateway, "").await), expected, "{cause}");
    }
}

#[tokio::test]
async fn does_not_repeat_what_has_begun_to_be_answered() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let mut pods = Vec::new();
    for _ in 0..2 {
        let asked = asked.clone();
        let pod = origin(move |mut peer| {
            let asked = asked.clone();
            async move {
                peer.head().await;
                asked.fetch_add(1, Relaxed);
                peer.send("HTTP/1.1 20").await;
            }
        });
        pods.push(pod.await);
    }
    gateway.behind_all(retry(json!({"budgetPercent": 100})), &pods);
    assert_eq!(status(&get(&gateway, "").await), 502);
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test]
async fn repeats_no_more_than_the_budget_allows() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let pods = [broken(&asked).await, broken(&asked).await];
    let plugin = gateway.behind_all(retry(json!({"budgetPercent": 10})), &pods);
    let started = Instant::now();
    const REQUESTS: u64 = 300;
    for _ in 0..REQUESTS {
        assert_eq!(status(&get(&gateway, "").await), 502);
    }
    let repeats = measured(&plugin, Measure::Repeat);
    // A tenth, and ten in each ten seconds.
    let reserve = 10 * (started.elapsed().as_secs() / 10 + 2);
    assert!(repeats <= REQUESTS / 10 + reserve, "{repeats}");
    assert!(repeats > 0 && measured(&plugin, Measure::Forgo) > 0, "{repeats}");
    assert_eq!(asked.load(Relaxed) as u64, REQUESTS + repeats);
}

#[tokio::test]
async fn what_cannot_be_sent_to_anybody_else_takes_nothing_of_the_budget() {
    let gateway = Gateway::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    // The reserve is all that there is.
    let policy = json!({"causes": [], "statuses": [503], "budgetPercent": 1});
    let plugin = gateway.behind_all(retry(policy), &[always(503).await, broken(&asked).await]);
    let other = plugin.endpoints()[1].pod.clone();
    plugin.set_unhealthy_pods(|pod| pod == other);
    for _ in 0..50 {
        let answer = get(&gateway, "").await;
        assert_eq!((status(&answer), body(&answer)), (503, "odd"), "{answer}");
    }
    assert_eq!((measured(&plugin, Measure::Repeat), measured(&plugin, Measure::Forgo)), (0, 0));
    plugin.set_unhealthy_pods(|_| false);
    plugin.endpoints()[1].in_flight.fetch_add(1, Relaxed);
    get(&gateway, "").await;
    assert_eq!((asked.load(Relaxed), measured(&plugin, Measure::Repeat)), (1, 1));
}
