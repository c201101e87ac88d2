//! What the client is told when a plugin cannot answer, and what is tried again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use forward_gateway::data::{stats::UpstreamError, worker::Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn impatient() -> Settings {
    Settings { upstream_timeout: Duration::from_millis(300), ..Settings::default() }
}

#[tokio::test]
async fn names_the_plugin_that_has_no_endpoint_or_is_unhealthy() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("pay", &["GET /x"], &[]);
    let answer = gateway.get("/x").await;
    assert_eq!((status(&answer), value(&answer, "retry-after")), (503, Some("1")));
    assert_eq!(value(&answer, "content-type"), Some("application/problem+json"));
    assert!(body(&answer).contains(r#""plugin":"test/pay""#), "{answer}");
    assert!(body(&answer).contains("has no ready pod"), "{answer}");
    set_endpoints(&plugin, &[mirror().await]);
    plugin.set_unhealthy(true);
    let answer = gateway.get("/x").await;
    assert!(status(&answer) == 503 && body(&answer).contains("is unhealthy"), "{answer}");
    plugin.set_unhealthy(false);
    assert_eq!(status(&gateway.get("/x").await), 200);
    let errors = totals(&plugin).errors;
    assert_eq!(
        (errors[UpstreamError::NoEndpoint as usize], errors[UpstreamError::Unhealthy as usize]),
        (1, 1)
    );
}

#[tokio::test]
async fn tries_another_endpoint_when_one_refuses_whatever_the_method() {
    let gateway = Gateway::new();
    gateway.plugin("a", &["* /x"], &[nobody(), nobody(), mirror().await]);
    for _ in 0..20 {
        let request = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let answer = gateway.ask(request).await;
        assert!(status(&answer) == 200 && body(&answer).ends_with("abc"), "{answer}");
    }
}

#[tokio::test]
async fn answers_503_when_every_endpoint_refuses() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("a", &["GET /x"], &[nobody(), nobody()]);
    let answer = gateway.get("/x").await;
    assert!(status(&answer) == 503 && body(&answer).contains("cannot be reached"), "{answer}");
    assert_eq!(totals(&plugin).errors[UpstreamError::Connect as usize], 1);
}

/// Answers the first request of each connection, and closes it when the second one comes.
async fn closes_on_reuse(requests: Arc<AtomicUsize>) -> std::net::SocketAddr {
    origin(move |mut peer| {
        let requests = requests.clone();
        async move {
            peer.message().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            if !peer.head().await.is_empty() {
                requests.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await
}

#[tokio::test]
async fn repeats_what_is_idempotent_when_a_used_connection_was_dead() {
    let gateway = Gateway::with(Settings::default());
    let dead = Arc::new(AtomicUsize::new(0));
    gateway.to(closes_on_reuse(dead.clone()).await);
    let mut client = gateway.client().await;
    for _ in 0..5 {
        client.send(GET).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    assert!(dead.load(Ordering::Relaxed) >= 2, "connections were used again");
}

#[tokio::test]
async fn does_not_repeat_a_post_that_a_server_may_have_seen() {
    let gateway = Gateway::new();
    let dead = Arc::new(AtomicUsize::new(0));
    let plugin = gateway.to(closes_on_reuse(dead.clone()).await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    client.message().await;
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    let (head, body) = client.message().await;
    assert!(status(&head) == 502 && body.contains("broke the connection"), "{head}{body}");
    assert_eq!(dead.load(Ordering::Relaxed), 1, "it was sent once");
    assert_eq!(totals(&plugin).errors[UpstreamError::Broken as usize], 1);
}

#[tokio::test]
async fn does_not_repeat_what_has_begun_to_be_answered() {
    let gateway = Gateway::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let plugin = origin(move |mut peer| {
        let counter = counter.clone();
        async move {
            peer.head().await;
            if counter.fetch_add(1, Ordering::Relaxed) == 0 {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                peer.head().await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            peer.send("HTTP/1.1 20").await;
        }
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    assert_eq!(status(&client.message().await.0), 200);
    client.send(GET).await;
    assert_eq!(status(&client.message().await.0), 502);
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn answers_502_to_what_is_not_http() {
    for answer in [
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let gateway = Gateway::new();
        let plugin = origin(move |mut peer| async move {
            peer.head().await;
            peer.send(answer).await;
            peer.rest().await;
        });
        let plugin = gateway.to(plugin.await);
        let got = gateway.get("/x").await;
        assert!(status(&got) == 502 && body(&got).contains("not valid HTTP"), "{answer}: {got}");
        assert_eq!(totals(&plugin).errors[UpstreamError::Malformed as usize], 1, "{answer}");
    }
}

#[tokio::test]
async fn breaks_off_an_answer_that_the_plugin_breaks_off() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    });
    gateway.to(plugin.await);
    let answer = gateway.ask(GET).await;
    assert!(answer.ends_with("3\r\nabc\r\n"), "no last chunk: {answer:?}");
}

#[tokio::test]
async fn answers_504_to_a_slow_plugin_and_hangs_up() {
    let gateway = Gateway::with(impatient());
    let (gone, mut hung_up) = tokio::sync::mpsc::channel(1);
    let plugin = origin(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    });
    let plugin = gateway.to(plugin.await);
    let answer = gateway.get("/x").await;
    assert!(status(&answer) == 504 && body(&answer).contains("did not answer in time"), "{answer}");
    hung_up.recv().await.unwrap();
    assert_eq!(totals(&plugin).errors[UpstreamError::Timeout as usize], 1);
}

#[tokio::test]
async fn has_patience_with_an_upload_that_moves_and_none_with_one_that_stands() {
    let gateway = Gateway::with(Settings { least_rate: 0, ..impatient() });
    gateway.to(mirror().await);
    let mut client = gateway.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.send("x").await;
    }
    let (head, body) = client.message().await;
    assert!(status(&head) == 200 && body.ends_with("xxxxxxxx"), "{head}");
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nxx").await;
    assert_eq!(status(&client.rest().await), 408);
}

/// A byte now and then would keep a place at the plugin for ever.
#[tokio::test]
async fn ends_an_upload_that_trickles() {
    let gateway = Gateway::with(Settings { least_rate: 100, ..impatient() });
    gateway.to(mirror().await);
    let mut client = gateway.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n").await;
    let (mut read, mut write) = client.stream.split();
    let trickle = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = read.read_exact(&mut answer) => drop(read.unwrap()),
        () = trickle => {}
        () = tokio::time::sleep(Duration::from_secs(5)) => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn cancels_the_plugins_work_when_the_client_goes() {
    let gateway = Gateway::new();
    let (seen, mut came) = tokio::sync::mpsc::channel(1);
    let (gone, mut hung_up) = tokio::sync::mpsc::channel(1);
    let plugin = origin(move |mut peer| {
        let (seen, gone) = (seen.clone(), gone.clone());
        async move {
            peer.head().await;
            seen.send(()).await.unwrap();
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    });
    let plugin = gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    came.recv().await.unwrap();
    assert_eq!(totals(&plugin).in_flight, 1);
    drop(client);
    tokio::time::timeout(PATIENCE, hung_up.recv()).await.unwrap().unwrap();
    until(|| totals(&plugin).errors[UpstreamError::ClientGone as usize] == 1).await;
    assert_eq!(totals(&plugin).in_flight, 0);
}

#[tokio::test]
async fn cancels_a_stream_when_the_client_goes() {
    let gateway = Gateway::new();
    let (gone, mut hung_up) = tokio::sync::mpsc::channel(1);
    let plugin = origin(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send(GET).await;
    client.until("abc\r\n").await;
    drop(client);
    tokio::time::timeout(PATIENCE, hung_up.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn sends_nothing_more_to_an_endpoint_that_drains_but_ends_what_it_has() {
    let gateway = Gateway::new();
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = origin(move |mut peer| {
        let mut released = released.clone();
        async move {
            peer.message().await;
            released.wait_for(|released| *released).await.unwrap();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await;
            peer.rest().await;
        }
    })
    .await;
    let plugin = gateway.to(slow);
    let mut client = gateway.client().await;
    client.send(GET).await;
    until(|| totals(&plugin).in_flight == 1).await;
    let old = plugin.endpoints()[0].clone();
    set_endpoints(&plugin, &[named("new").await]);
    for _ in 0..10 {
        assert!(body(&gateway.get("/x").await).starts_with("new"));
    }
    release.send_replace(true);
    assert_eq!(client.message().await.1, "old");
    assert!(old.is_retired());
    client.send(GET).await;
    assert!(client.message().await.1.starts_with("new"));
}

#[tokio::test]
async fn closes_idle_connections_to_an_endpoint_that_is_gone() {
    let gateway = Gateway::new();
    let (gone, mut hung_up) = tokio::sync::mpsc::channel(1);
    let plugin = origin(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.message().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    });
    let plugin = gateway.to(plugin.await);
    gateway.get("/x").await;
    set_endpoints(&plugin, &[]);
    tokio::time::timeout(PATIENCE, hung_up.recv()).await.unwrap().unwrap();
}
