//! Connections of HTTP/1.1 on which nothing happens for a while: the HTTP library is done without until
//! the next byte comes, of which the client must notice nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use forward_gateway::data::worker::Settings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{harness::*, tls};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway before one plugin that answers with what it got.
async fn mirrored(settings: Settings) -> Gateway {
    let gateway = Gateway::with(settings);
    gateway.to(mirror().await);
    gateway
}

/// Wait until so many connections are dormant.
async fn dormant(gateway: &Gateway, count: usize) {
    until(|| gateway.shared.dormant.load(Relaxed) == count).await;
}

/// A connection that has had a request, and is dormant.
async fn slept(gateway: &Gateway) -> Peer {
    let mut client = gateway.client().await;
    client.send(GET).await;
    assert_eq!(status(&client.message().await.0), 200);
    dormant(gateway, 1).await;
    client
}

/// An answer of [`mirror`] that leaves the connection open, to this.
async fn answered(client: &mut Peer, line: &str) {
    let (head, body) = client.message().await;
    assert_eq!((status(&head), value(&head, "connection")), (200, None), "{head}");
    assert!(body.starts_with(line), "{line}: {body}");
}

#[tokio::test]
async fn answers_on_a_connection_that_was_dormant_again_and_again() {
    let gateway = mirrored(Settings::default()).await;
    let mut client = slept(&gateway).await;
    for path in ["/a", "/b"] {
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")).await;
        let (head, body) = client.message().await;
        assert_eq!((status(&head), value(&head, "connection")), (200, None));
        assert!(body.starts_with(&format!("POST {path} ")) && body.ends_with("\r\n\r\nbody"), "{body}");
        dormant(&gateway, 1).await;
    }
    drop(client);
    dormant(&gateway, 0).await;
}

#[tokio::test]
async fn a_head_may_come_in_pieces_and_line_ends_before_it() {
    let gateway = mirrored(Settings::default()).await;
    let mut client = gateway.client().await;
    client.send(format!("{GET}\r\n\r\n")).await;
    answered(&mut client, "GET /x ").await;
    dormant(&gateway, 1).await;
    for piece in ["\r", "\nGE", "T /y HTTP/1.1\r\nHo", "st: a\r\n\r", "\n"] {
        client.send(piece).await;
        dormant(&gateway, 0).await;
        sleep(Duration::from_millis(20)).await;
    }
    answered(&mut client, "GET /y ").await;
    dormant(&gateway, 1).await;
    client.send("\r\n").await;
    dormant(&gateway, 0).await;
    client.send("GET /z HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answered(&mut client, "GET /z ").await;
}

#[tokio::test]
async fn half_a_head_is_not_waited_for_longer_than_any_other() {
    let settings = Settings { head_timeout: Duration::from_millis(400), ..Settings::default() };
    let gateway = mirrored(settings).await;
    let mut client = slept(&gateway).await;
    client.send("GET /x HT").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_answered_in_order() {
    let gateway = mirrored(Settings::default()).await;
    let mut client = slept(&gateway).await;
    let all = (0..40).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>();
    let (first, rest) = all.split_at(all.len() / 2 + 7);
    client.send(first).await;
    client.send(rest).await;
    for number in 0..40 {
        answered(&mut client, &format!("GET /{number} ")).await;
    }
    dormant(&gateway, 1).await;
}

#[tokio::test]
async fn requests_in_the_moment_when_it_becomes_dormant_are_answered() {
    const CLIENTS: u64 = 240;
    let gateway = Arc::new(mirrored(Settings::default()).await);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let gateway = gateway.clone();
        clients.spawn(async move {
            let mut client = gateway.client().await;
            client.send(GET).await;
            answered(&mut client, "GET /x ").await;
            for turn in 0..3 {
                // Deadlines are met in ticks of 100 ms; each client comes at another moment of them.
                sleep(Duration::from_millis(880 + (number * 7 + turn * 3) % 380)).await;
                let path = format!("/{number}/{turn}");
                let one = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
                let request = format!("{one}GET {path}/2 HTTP/1.1\r\nHost: a\r\n\r\n");
                let cut = usize::try_from(number).unwrap() * 5 % request.len();
                client.send(&request[..cut]).await;
                if number % 2 == 0 {
                    sleep(Duration::from_millis(number % 9)).await;
                }
                client.send(&request[cut..]).await;
                answered(&mut client, &format!("POST {path} ")).await;
                answered(&mut client, &format!("GET {path}/2 ")).await;
            }
        });
    }
    timeout(PATIENCE, clients.join_all()).await.unwrap();
}

#[tokio::test]
async fn closes_when_nothing_comes_for_too_long() {
    let settings = Settings { idle_timeout: Duration::from_millis(1_800), ..Settings::default() };
    let gateway = mirrored(settings).await;
    let mut client = slept(&gateway).await;
    assert_eq!(client.rest().await, "");
    dormant(&gateway, 0).await;
}

#[tokio::test]
async fn stops_and_drains_as_any_other() {
    let mut gateway = mirrored(Settings::default()).await;
    let mut drained = slept(&gateway).await;
    let mut idle = gateway.client().await;
    idle.send(GET).await;
    answered(&mut idle, "GET /x ").await;
    dormant(&gateway, 2).await;
    gateway.shared.drain();
    drained.send(GET).await;
    assert_eq!(value(&drained.rest().await, "connection"), Some("close"));
    assert_eq!(gateway.shared.dormant.load(Relaxed), 1, "what waits is not closed before it has to be");
    gateway.stop().await;
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn closes_after_a_request_that_wants_it() {
    let gateway = mirrored(Settings::default()).await;
    for request in
        ["GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n"]
    {
        let mut client = slept(&gateway).await;
        client.send(request).await;
        assert_eq!(status(&client.rest().await), 200, "{request}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_that_wants_to_stay_may() {
    let gateway = mirrored(Settings::default()).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        let head = client.message().await.0;
        assert_eq!((status(&head), value(&head, "connection")), (200, Some("keep-alive")));
        dormant(&gateway, 1).await;
    }
}

#[tokio::test]
async fn the_protocol_may_change() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        while peer.head().await.starts_with("GET /x ") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    gateway.to(plugin.await);
    let mut client = slept(&gateway).await;
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    client.send(upgrade).await;
    assert_eq!(status(&client.head().await), 101);
    assert_eq!(client.exact(5).await, "early");
    // A tunnel is never dormant.
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(gateway.shared.dormant.load(Relaxed), 0);
    client.send("late").await;
    assert_eq!(client.exact(4).await, "late");
}

#[tokio::test]
async fn two_framings_in_one_request_are_still_refused() {
    let gateway = Gateway::new();
    let (plugin, seen) = counting().await;
    gateway.to(plugin);
    let request =
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for cut in [1, 40, 70, request.len()] {
        let mut client = slept(&gateway).await;
        let before = seen.load(Relaxed);
        client.send(&request[..cut]).await;
        dormant(&gateway, 0).await;
        client.send(format!("{}{GET}", &request[cut..])).await;
        let answer = client.rest().await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (400, 1), "{answer}");
        assert_eq!(seen.load(Relaxed), before, "nothing of it reaches the plugin");
    }
}

#[tokio::test]
async fn what_a_client_has_yet_to_take_is_not_lost() {
    const CLIENTS: usize = 48;
    // About as much as the library holds of an answer.
    const STEP: usize = 128 * 1024;
    let gateway = Arc::new(Gateway::new());
    // Answers with as many bytes as the path says.
    let plugin = origin(|mut peer| async move {
        loop {
            let head = peer.head().await;
            let Some(count) = head.split(['/', ' ']).nth(2) else { return };
            let count = count.parse::<usize>().unwrap();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n")).await;
            peer.send(vec![b'x'; count]).await;
        }
    });
    let plugin = gateway.to(plugin.await);
    let mut clients = Vec::new();
    for number in 1..=CLIENTS {
        let mut client = slow(gateway.address).await;
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", number * STEP)).await;
        clients.push((client, number * STEP));
    }
    // Some are held up by the plugin, some by the kernel, and some by the library in between.
    until(|| gateway.shared.dormant.load(Relaxed) > 0).await;
    sleep(Duration::from_millis(1_500)).await;
    assert!(totals(&plugin).in_flight > 0, "none waits for its client");
    let mut reading = JoinSet::new();
    for (mut client, count) in clients {
        reading.spawn(async move {
            let (head, body) = client.message().await;
            assert_eq!((status(&head), body.len()), (200, count));
            client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(client.message().await.1, "x", "open after {count} bytes");
        });
    }
    reading.join_all().await;
}

/// A client that takes little at a time.
async fn slow(address: SocketAddr) -> Peer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    Peer { stream: socket.connect(address).await.unwrap() }
}

#[tokio::test]
async fn answers_over_tls_on_a_connection_that_was_dormant() {
    let folder = tls::Folder::new("dormant");
    let root = tls::mount(&folder.0, "default", &["a.example"]);
    let tls = tls::tls(&mut tls::files(&folder));
    let (gateway, address) = Gateway::secured(Settings::default(), tls);
    gateway.to(mirror().await);
    let mut client = tls::connect(address, tls::trusting(&[root], &["http/1.1"]), "a.example").await.unwrap();
    for turn in 0..3 {
        let request = format!("GET /{turn} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let (first, rest) = request.split_at(turn * 5 + 1);
        client.write_all(first.as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        dormant(&gateway, 0).await;
        client.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Its head, and the one that it got.
        while answer.windows(4).filter(|window| window == b"\r\n\r\n").count() < 2 {
            let read = timeout(PATIENCE, client.read_buf(&mut answer)).await.unwrap().unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        }
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!((status(&answer), value(&answer, "connection")), (200, None));
        assert!(body(&answer).starts_with(&format!("GET /{turn} ")), "{answer}");
        dormant(&gateway, 1).await;
    }
}
