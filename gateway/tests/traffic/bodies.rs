//! Bodies, in both directions and of every kind.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use forward_gateway::data::worker::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn streams_large_bodies_both_ways_at_once() {
    let gateway = Gateway::new();
    let echo = origin(|mut peer| async move {
        let head = peer.head().await;
        assert_eq!(value(&head, "content-length"), Some((64 * MIB).to_string().as_str()));
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB)).await;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut (&mut read).take(64 * MIB as u64), &mut write).await.unwrap();
    });
    gateway.to(echo.await);
    let mut client = gateway.client().await;
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB)).await;
    let (mut read, mut write) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        let chunk = vec![b'x'; MIB];
        for _ in 0..64 {
            write.write_all(&chunk).await.unwrap();
        }
        write
    });
    let mut received = vec![0; MIB];
    let mut count = 0;
    let mut tail = Vec::new();
    while count < 64 * MIB {
        let got = read.read(&mut received).await.unwrap();
        assert!(got > 0, "ended after {count}");
        if tail.is_empty() {
            let head_end = received[..got].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            count += got - head_end;
            tail.push(0);
        } else {
            count += got;
        }
    }
    sender.await.unwrap();
}

/// Reads of a fast sender stop when the slow receiver's do: the gateway holds little.
#[tokio::test]
async fn holds_back_a_sender_that_is_faster_than_its_receiver() {
    let gateway = Gateway::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let plugin = origin(move |mut peer| {
        let counter = counter.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
            for _ in 0..4_096 {
                if peer.stream.write_all(chunk.as_bytes()).await.is_err() {
                    return;
                }
                counter.fetch_add(65_536, Ordering::Relaxed);
            }
        }
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    // Until it stands still: nothing was sent between two looks.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(before < 32 * MIB, "{before} bytes are on their way");
}

/// A plugin whose answers have no end.
pub async fn endless() -> std::net::SocketAddr {
    origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        while peer.stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn waits_no_longer_for_who_takes_nothing_of_its_answer() {
    let send_timeout = std::time::Duration::from_secs(1);
    // Looked at as often as heads.
    let head_timeout = std::time::Duration::from_millis(200);
    let gateway = Gateway::with(Settings { send_timeout, head_timeout, ..Settings::default() });
    let plugin = gateway.to(endless().await);
    let mut reads = gateway.client().await;
    let mut reads_not = gateway.client().await;
    for client in [&mut reads, &mut reads_not] {
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.head().await;
    }
    let mut piece = vec![0; MIB];
    let slowly = async {
        while totals(&plugin).in_flight == 2 {
            assert!(reads.stream.read(&mut piece).await.unwrap() > 0, "who reads slowly is let be");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, slowly).await.expect("one of them is let go");
    for _ in 0..10 {
        assert!(reads.stream.read(&mut piece).await.unwrap() > 0);
    }
    assert_eq!(totals(&plugin).in_flight, 1);
}

#[tokio::test]
async fn passes_trailers_both_ways() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        assert_eq!(value(&head, "te"), Some("trailers"));
        assert_eq!(value(&head, "connection"), Some("te"));
        assert_eq!(value(&head, "trailer"), Some("X-Sum"));
        let body = peer.until("\r\n\r\n").await;
        assert_eq!(body.to_lowercase(), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n").await;
        peer.send("3\r\ndef\r\n0\r\nX-Sum: 2\r\n\r\n").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client
        .send(
            "POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        .await;
    assert_eq!(status(&client.head().await), 200);
    assert_eq!(client.until("\r\n\r\n").await.to_lowercase(), "3\r\ndef\r\n0\r\nx-sum: 2\r\n\r\n");
}

#[tokio::test]
async fn passes_events_on_as_they_come() {
    let gateway = Gateway::new();
    let (next, wanted) = tokio::sync::mpsc::channel::<()>(1);
    let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
    let plugin = origin(move |mut peer| {
        let wanted = wanted.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                .await;
            while wanted.lock().await.recv().await.is_some() {
                peer.send("data: x\n\n").await;
            }
        }
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(value(&client.head().await, "content-type"), Some("text/event-stream"));
    for _ in 0..3 {
        next.send(()).await.unwrap();
        assert_eq!(client.until("\n\n\r\n").await, "9\r\ndata: x\n\n\r\n");
    }
    drop(next);
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn asks_for_an_expected_body_only_when_the_plugin_does() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        assert_eq!(value(&head, "expect"), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.exact(3).await, "abc");
        peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 100);
    client.send("abc").await;
    assert_eq!(status(&client.head().await), 201);
}

#[tokio::test]
async fn passes_on_that_an_expected_body_is_not_wanted() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").await;
        assert_eq!(peer.rest().await, "", "no body was sent");
    });
    gateway.to(plugin.await);
    let request = "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let answer = gateway.ask(request).await;
    assert_eq!((status(&answer), body(&answer)), (417, "no"));
}

#[tokio::test]
async fn does_not_wait_forever_for_a_plugin_that_knows_no_expectations() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let (_, body) = peer.message().await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 100);
    client.send("abc").await;
    assert_eq!(client.message().await.1, "abc");
}

#[tokio::test]
async fn passes_on_an_answer_that_comes_before_the_request_is_read() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nabc").await;
    let (head, body) = client.message().await;
    assert_eq!((status(&head), body.as_str()), (413, "big"));
}

/// The plugin answers at length before it reads; the client sends everything before it reads.
#[tokio::test]
async fn does_not_deadlock_when_both_ends_talk_first() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
        let (mut read, mut write) = peer.stream.split();
        let reading = async {
            let mut sink = tokio::io::sink();
            tokio::io::copy(&mut (&mut read).take(32 * MIB as u64), &mut sink).await.unwrap();
        };
        let writing = async { write.write_all(&vec![b'y'; 16 * MIB]).await.unwrap() };
        tokio::join!(reading, writing);
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client
        .send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            32 * MIB
        ))
        .await;
    for _ in 0..32 {
        client.send(vec![b'x'; MIB]).await;
    }
    let answer = client.rest().await;
    assert_eq!(answer.bytes().filter(|byte| *byte == b'y').count(), 16 * MIB);
}

#[tokio::test]
async fn keeps_the_framing_of_bodies_on_get() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        assert_eq!(value(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(peer.until("0\r\n\r\n").await, "2\r\nhi\r\n0\r\n\r\n");
        peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 204);
}
