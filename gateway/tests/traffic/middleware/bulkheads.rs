//! A plugin that is slow holds up itself, and nobody else.

use std::sync::Arc;

use forward_gateway::data::{snapshot::Plugin, stats::UpstreamError};

use super::*;

fn at_most(max: u32) -> serde_json::Value {
    json!([{"name": "few", "concurrency": {"max": max}}])
}

fn overloaded(plugin: &Plugin) -> u64 {
    totals(plugin).errors[UpstreamError::Overloaded as usize]
}

/// A client whose request is under way at the plugin.
async fn under_way(gateway: &Gateway, plugin: &Arc<Plugin>, request: &str) -> Peer {
    let before = at_pods(plugin);
    let mut client = gateway.client().await;
    client.send(request).await;
    until(|| at_pods(plugin) == before + 1).await;
    client
}

#[tokio::test]
async fn a_plugin_that_hangs_is_refused_more_and_others_are_served() {
    let gateway = Gateway::new();
    let hung = gateway.plugin_with("a", &["* /a"], &[mute().await], Some(chain(at_most(2))));
    gateway.plugin_with("b", &["* /b"], &[mirror().await], Some(chain(at_most(2))));
    let request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = under_way(&gateway, &hung, request).await;
    let _second = under_way(&gateway, &hung, request).await;
    for _ in 0..20 {
        let refused = gateway.get("/a").await;
        assert!(
            status(&refused) == 503 && body(&refused).contains("too many requests under way"),
            "{refused}"
        );
        assert_eq!(value(&refused, "retry-after"), Some("1"));
        assert_eq!(status(&gateway.get("/b").await), 200);
    }
    assert_eq!(overloaded(&hung), 20);
    drop(first);
    until(|| totals(&hung).in_flight == 1).await;
    let _third = under_way(&gateway, &hung, request).await;
    assert_eq!(overloaded(&hung), 20, "there was room again");
}

#[tokio::test]
async fn without_an_entry_so_many_may_wait_for_each_pod() {
    let gateway = Gateway::new();
    let plugin = gateway.to(mirror().await);
    let waiting = |count: usize| (0..count).map(|_| plugin.waiting.enter(usize::MAX)).collect::<Vec<_>>();
    let mut places = waiting(1023);
    assert_eq!(status(&gateway.get("/x").await), 200);
    places.extend(waiting(1));
    assert_eq!(status(&gateway.get("/x").await), 503);
    set_endpoints(&plugin, &[mirror().await, mirror().await]);
    assert_eq!(status(&gateway.get("/x").await), 200, "there are two pods");
    drop(places);
    assert_eq!(plugin.waiting.underway(), 0);
}

#[tokio::test]
async fn an_entry_takes_the_place_of_that_bound() {
    let gateway = Gateway::new();
    let plugin = gateway.behind(at_most(5_000), mirror().await);
    let places = (0..1024).map(|_| plugin.waiting.enter(usize::MAX)).collect::<Vec<_>>();
    assert_eq!(status(&get(&gateway, "").await), 200);
    drop(places);
}

#[tokio::test]
async fn holds_a_place_to_the_end_of_an_answer_but_waits_for_its_head_only() {
    let gateway = Gateway::new();
    let endless = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        peer.rest().await;
    })
    .await;
    let plugin = gateway.behind(at_most(1), endless);
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until("abc\r\n").await;
    assert_eq!(plugin.waiting.underway(), 0);
    assert_eq!(status(&get(&gateway, "").await), 503);
    drop(client);
    until(|| totals(&plugin).in_flight == 0).await;
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 200);
}

#[tokio::test]
async fn holds_a_place_while_a_tunnel_is_open() {
    let gateway = Gateway::new();
    let agrees = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let plugin = gateway.behind(at_most(1), agrees);
    let upgrade = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let mut client = gateway.client().await;
    client.send(upgrade).await;
    assert_eq!(status(&client.head().await), 101);
    assert_eq!((status(&get(&gateway, "").await), plugin.waiting.underway()), (503, 0));
    drop(client);
    until(|| totals(&plugin).in_flight == 0).await;
    let mut client = gateway.client().await;
    client.send(upgrade).await;
    assert_eq!(status(&client.head().await), 101);
}

#[tokio::test]
async fn replicas_share_the_places_out() {
    let gateway = Gateway::new();
    gateway.shared.set_replicas(2);
    let plugin = gateway.behind(at_most(3), mute().await);
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let _first = under_way(&gateway, &plugin, request).await;
    let _second = under_way(&gateway, &plugin, request).await;
    assert_eq!(status(&get(&gateway, "").await), 503);
}
