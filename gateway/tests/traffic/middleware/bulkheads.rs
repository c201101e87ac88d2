//! A plugin that is slow holds up itself, and nobody else.

use std::sync::Arc;

use forward_gateway::data::{snapshot::Plugin, stats::UpstreamError};
use tokio::io::AsyncReadExt;

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
async fn who_matters_less_is_refused_first() {
    let gateway = Gateway::new();
    let priority = |priority: &str| json!({"name": "prior", "concurrency": {"priority": priority}});
    for (name, room) in [("High", 1024), ("Normal", 922), ("Low", 717)] {
        let plugin = gateway.behind(json!([priority(name)]), mirror().await);
        let mut places = (1..room).map(|_| plugin.waiting.enter(usize::MAX)).collect::<Vec<_>>();
        assert_eq!(status(&get(&gateway, "").await), 200, "{name}");
        places.push(plugin.waiting.enter(usize::MAX));
        assert_eq!(status(&get(&gateway, "").await), 503, "{name}");
    }
    let few = json!([priority("Low"), {"name": "few", "concurrency": {"max": 4}}]);
    let plugin = gateway.behind(few, mute().await);
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let _three = [
        under_way(&gateway, &plugin, request).await,
        under_way(&gateway, &plugin, request).await,
        under_way(&gateway, &plugin, request).await,
    ];
    assert_eq!(status(&get(&gateway, "").await), 503, "the fourth place is for others");
}

/// A plugin that answers until it is told to hang, and those that it has not answered then when it is
/// told to go on.
async fn told(hangs: tokio::sync::watch::Receiver<bool>) -> std::net::SocketAddr {
    origin(move |mut peer| {
        let mut hangs = hangs.clone();
        async move {
            while !peer.head().await.is_empty() && hangs.wait_for(|hangs| !hangs).await.is_ok() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_plugin_that_hangs_loses_its_places_and_others_are_as_quick_as_before() {
    let gateway = Gateway::new();
    let (hang, hangs) = tokio::sync::watch::channel(false);
    let slow = gateway.plugin("slow", &["* /slow"], &[told(hangs).await]);
    gateway.plugin("quick", &["* /quick"], &[mirror().await]);
    for _ in 0..5 {
        assert_eq!(status(&gateway.get("/slow").await), 200);
    }
    hang.send_replace(true);
    let mut places = (0..600).map(|_| slow.waiting.enter(usize::MAX)).collect::<Vec<_>>();
    let (mut clients, mut times) = (Vec::new(), Vec::new());
    let refused = loop {
        let mut client = gateway.client().await;
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answered = tokio::time::timeout(Duration::from_millis(100), client.head()).await;
        let began = std::time::Instant::now();
        assert_eq!(status(&gateway.get("/quick").await), 200);
        times.push(began.elapsed());
        match answered {
            Ok(refused) => break refused,
            Err(_) => clients.push(client),
        }
        assert!(clients.len() < 100, "it is given all the places that there are");
    };
    assert_eq!(status(&refused), 503);
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_millis(50), "{times:?}");
    places.clear();
    assert!(slow.waiting.underway() < 100, "those that hang wait on");
    hang.send_replace(false);
    for mut client in clients {
        assert_eq!(status(&client.head().await), 200);
    }
    assert_eq!(status(&gateway.get("/slow").await), 200);
}

#[tokio::test]
async fn clients_that_send_slowly_take_no_places_away() {
    let gateway = Gateway::new();
    // That does not mind who breaks off.
    let patient = origin(|mut peer| async move {
        let (mut bytes, mut seen) = ([0; 4096], String::new());
        while let Ok(count @ 1..) = peer.stream.read(&mut bytes).await {
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            let end = if seen.starts_with("GET") { "\r\n\r\n" } else { "\r\n\r\nab" };
            if seen.ends_with(end) {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                seen.clear();
            }
        }
    })
    .await;
    let plugin = gateway.to(patient);
    for _ in 0..5 {
        assert_eq!(status(&gateway.get("/x").await), 200);
    }
    let begin = async || {
        let mut client = gateway.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na").await;
        client
    };
    let second = Duration::from_millis(1_100);
    let mut clients = Vec::new();
    for _ in 0..600 {
        clients.push(begin().await);
    }
    until(|| plugin.waiting.underway() == 600 && plugin.uploading.underway() == 600).await;
    for _ in 0..4 {
        tokio::time::sleep(second).await;
        clients.push(begin().await);
    }
    assert_eq!(status(&gateway.get("/x").await), 200, "the plugin is silent because its clients are");
    clients.truncate(3);
    until(|| plugin.waiting.underway() == 3 && plugin.uploading.underway() == 3).await;
    let places = (0..600).map(|_| plugin.waiting.enter(usize::MAX)).collect::<Vec<_>>();
    for mut client in clients {
        tokio::time::sleep(second).await;
        client.send("b").await;
        assert_eq!(status(&client.head().await), 200);
        assert_eq!(status(&gateway.get("/x").await), 200, "it is as quick as usual once it has the body");
    }
    drop(places);
    until(|| plugin.uploading.underway() == 0 && plugin.waiting.underway() == 0).await;
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
