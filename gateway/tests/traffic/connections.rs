//! How many connections there may be.

use std::num::NonZeroUsize;

use forward_gateway::data::worker::Settings;

use crate::harness::*;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Connections that are open, and have had an answer.
async fn open(gateway: &Gateway, count: usize) -> Vec<Peer> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut client = gateway.client().await;
        client.send(GET).await;
        assert_eq!(status(&client.message().await.0), 200);
        all.push(client);
    }
    all
}

/// One more, which is closed without an answer.
async fn is_refused(gateway: &Gateway) {
    let refused = gateway.shared.connections.refused();
    let mut client = gateway.client().await;
    assert_eq!(client.rest().await, "");
    assert_eq!(gateway.shared.connections.refused(), refused + 1);
}

async fn is_limited(settings: Settings) {
    let gateway = Gateway::with(settings);
    gateway.to(mirror().await);
    let mut clients = open(&gateway, 3).await;
    is_refused(&gateway).await;
    for client in &mut clients {
        client.send(GET).await;
        assert_eq!(status(&client.message().await.0), 200, "those that are there go on");
    }
    clients.pop();
    until(|| gateway.shared.connections.open() == 2).await;
    clients.extend(open(&gateway, 1).await);
    is_refused(&gateway).await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_may_be() {
    is_limited(Settings { max_connections: 3, ..Settings::default() }).await;
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_it_may() {
    is_limited(Settings { max_connections_per_client: NonZeroUsize::new(3), ..Settings::default() }).await;
}

#[tokio::test]
async fn trusted_proxies_have_as_many_as_they_need() {
    let gateway = Gateway::with(Settings {
        max_connections_per_client: NonZeroUsize::new(1),
        trusted: vec!["127.0.0.0/8".parse().unwrap()],

        ..Settings::default()
    });
    gateway.to(mirror().await);
    open(&gateway, 5).await;
}
