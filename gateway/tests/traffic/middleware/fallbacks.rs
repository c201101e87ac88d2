//! What is answered where the plugin cannot.

use std::{collections::BTreeMap, sync::Arc};

use forward_gateway::data::{
    snapshot::Plugin,
    stats::{Measure, UpstreamError},
};

use super::*;

const SORRY: &str = "come back later";

/// An entry that answers, and one that brings that about.
fn sorry_and(other: serde_json::Value) -> serde_json::Value {
    json!([{"name": "sorry", "fallback": {"respond": {"status": 203, "body": SORRY}}}, other])
}

fn to_spare() -> serde_json::Value {
    json!([{"name": "spare", "fallback": {"plugin": "spare"}}])
}

fn measured(plugin: &Plugin, measure: Measure) -> u64 {
    totals(plugin).measures[measure as usize]
}

/// A plugin at this address that another one stands in for.
async fn with_spare(gateway: &Gateway, endpoints: &[std::net::SocketAddr]) -> Arc<Plugin> {
    let spare = gateway.plugin("spare", &["GET /spare"], &[named("spare").await]);
    let spares = BTreeMap::from([("spare".to_owned(), spare)]);
    gateway.plugin_with("origin", &["* /x"], endpoints, Some(chain_with(to_spare(), &spares)))
}

#[tokio::test]
async fn answers_where_the_plugin_cannot_and_not_for_its_own_errors() {
    let asked = Arc::default();
    let cases = [
        ("refuses connections", nobody(), 203),
        ("breaks connections", broken(&asked).await, 203),
        ("does not answer", mute().await, 203),
        ("says that it fails", always(503).await, 503),
        ("answers", mirror().await, 200),
    ];
    for (case, pod, expected) in cases {
        let gateway = Gateway::new();
        let quick = json!({"name": "quick", "timeout": {"answer": "500ms"}});
        let plugin = gateway.behind(sorry_and(quick), pod);
        let answer = get(&gateway, "").await;
        assert_eq!(status(&answer), expected, "it {case}");
        assert_eq!(body(&answer) == SORRY, expected == 203, "it {case}: {answer}");
        assert_eq!(measured(&plugin, Measure::Answer), u64::from(expected == 203), "it {case}");
    }
}

#[tokio::test]
async fn answers_where_nothing_can_be_sent() {
    let gateway = Gateway::new();
    let few = json!({"name": "few", "concurrency": {"max": 1}});
    let plugin = gateway.behind(sorry_and(few), mute().await);
    plugin.set_unhealthy(true);
    assert_eq!(body(&get(&gateway, "").await), SORRY, "unhealthy");
    plugin.set_unhealthy(false);
    let mut waits = gateway.client().await;
    waits.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| at_pods(&plugin) == 1).await;
    assert_eq!(body(&get(&gateway, "").await), SORRY, "too much under way");
    set_endpoints(&plugin, &[]);
    assert_eq!(body(&get(&gateway, "").await), SORRY, "no pods");
    for error in [UpstreamError::Unhealthy, UpstreamError::Overloaded, UpstreamError::NoEndpoint] {
        assert_eq!(totals(&plugin).errors[error as usize], 1, "{error:?}");
    }
}

#[tokio::test]
async fn another_plugin_answers_the_same_request() {
    let gateway = Gateway::new();
    let plugin = with_spare(&gateway, &[nobody()]).await;
    let post = format!("POST /x?q=1 HTTP/1.1\r\n{CLOSE}Content-Length: 3\r\n\r\nabc");
    let answer = gateway.ask(&post).await;
    let seen = body(&answer);
    assert!(seen.starts_with("sparePOST /x?q=1") && seen.ends_with("abc"), "{answer}");
    assert_eq!(measured(&plugin, Measure::Substitute), 1);
    set_endpoints(&plugin, &[]);
    assert!(body(&get(&gateway, "").await).starts_with("spareGET /x?q=1"));
}

#[tokio::test]
async fn another_plugin_gets_nothing_that_a_pod_may_have_acted_on() {
    let gateway = Gateway::new();
    let asked = Arc::default();
    with_spare(&gateway, &[broken(&asked).await]).await;
    assert!(body(&get(&gateway, "").await).starts_with("spareGET"), "it may come twice");
    let post = format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: 3\r\n\r\nabc");
    assert_eq!(status(&gateway.ask(&post).await), 502);
    let empty = format!("POST /x HTTP/1.1\r\n{CLOSE}\r\n");
    assert_eq!(status(&gateway.ask(&empty).await), 502);
}

#[tokio::test]
async fn a_fallback_is_not_followed_by_another() {
    let gateway = Gateway::new();
    let last = gateway.plugin("last", &["GET /last"], &[mirror().await]);
    let to = |name: &str, plugin: Arc<Plugin>| {
        let spares = BTreeMap::from([(name.to_owned(), plugin)]);
        Some(chain_with(json!([{"name": "f", "fallback": {"plugin": name}}]), &spares))
    };
    let middle = gateway.plugin_with("middle", &["* /middle"], &[], to("last", last));
    gateway.plugin_with("first", &["* /first"], &[], to("middle", middle));
    let answer = gateway.get("/first").await;
    assert!(status(&answer) == 503 && body(&answer).contains("test/first has no ready pod"), "{answer}");
    assert_eq!(status(&gateway.get("/middle").await), 200);
}

#[tokio::test]
async fn nobody_stands_in_who_is_not_there_or_is_the_plugin_itself() {
    let gateway = Gateway::new();
    gateway.behind(to_spare(), nobody());
    assert_eq!(status(&get(&gateway, "").await), 503);
    let own = gateway.plugin("origin", &["GET /own"], &[mirror().await]);
    let spares = BTreeMap::from([("spare".to_owned(), own)]);
    gateway.plugin_with("origin", &["* /x"], &[nobody()], Some(chain_with(to_spare(), &spares)));
    assert_eq!(status(&get(&gateway, "").await), 503);
}
