//! How the gateway stops: no request that it has accepted is lost.

use std::{sync::Arc, time::Duration};

use forward_gateway::data::worker::Settings;

use crate::harness::*;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn asks_clients_to_go_elsewhere_while_it_drains() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    assert_eq!(value(&client.message().await.0, "connection"), None);
    gateway.shared.drain();
    client.send(GET).await;
    assert_eq!(value(&client.rest().await, "connection"), Some("close"));
    assert_eq!(status(&gateway.get("/x").await), 200, "it still accepts connections");
}

#[tokio::test]
async fn ends_requests_that_are_under_way_and_closes_idle_connections() {
    let mut gateway = Gateway::new();
    let release = Arc::new(tokio::sync::Notify::new());
    let released = release.clone();
    let plugin = origin(move |mut peer| {
        let released = released.clone();
        async move {
            peer.head().await;
            released.notified().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
            peer.rest().await;
        }
    });
    let plugin = gateway.to(plugin.await);
    let mut idle = gateway.client().await;
    let mut busy = gateway.client().await;
    busy.send(GET).await;
    until(|| totals(&plugin).in_flight == 1).await;
    let address = gateway.address;
    let stopping = tokio::spawn(async move { gateway.stop().await });
    assert_eq!(idle.rest().await, "");
    // Each worker closes its own listening socket.
    until(|| std::net::TcpStream::connect(address).is_err()).await;
    release.notify_one();
    let answer = busy.rest().await;
    assert!(status(&answer) == 200 && answer.ends_with("done"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn stops_in_time_whatever_is_under_way() {
    let settings = Settings { stop_timeout: Duration::from_millis(300), ..Settings::default() };
    let mut gateway = Gateway::with(settings);
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.rest().await;
    });
    let plugin = gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    until(|| totals(&plugin).in_flight == 1).await;
    gateway.stop().await;
    assert_eq!(client.rest().await, "");
}
