//! What nobody would send by mistake. Paths however they are written mean the same to both
//! protocols and to a model of how they are matched; and no bytes at all stop a worker.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use forward_gateway::data::http2::PREFACE;
use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    sample::select,
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    frames::{fields, frame},
    harness::*,
    http2::{Client, get},
};

/// The patterns of the plugins `0`, `1`, …
const PATTERNS: [&str; 7] = ["/", "/a", "/a/", "/a/:x", "/:x/b", "/f/*rest", "/a;b/%2f"];

/// How specific a pattern is where it matches: 0 for a literal, 1 for a parameter, 2 for the rest.
fn rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let segments = path.split('/').skip(1).collect::<Vec<_>>();
    let parts = pattern.split('/').skip(1).collect::<Vec<_>>();
    let mut ranks = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let segment = *segments.get(index)?;
        if part.starts_with('*') {
            ranks.push(2);
            return (!segments[index..].join("/").is_empty()).then_some(ranks);
        }
        let fits = if part.starts_with(':') { !segment.is_empty() } else { *part == segment };
        ranks.push(part.starts_with(':').into());
        fits.then_some(())?;
    }
    (parts.len() == segments.len()).then_some(ranks)
}

/// What a path comes to: a status, and the number of the plugin.
fn verdict(path: &str) -> (u16, Option<usize>) {
    let is_dot = |segment: &str| matches!(segment.to_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(is_dot) {
        return (400, None);
    }
    let ranked =
        PATTERNS.iter().enumerate().filter_map(|(index, pattern)| Some((rank(pattern, path)?, index)));
    ranked.min().map_or((404, None), |(_, index)| (200, Some(index)))
}

fn path() -> impl Strategy<Value = String> {
    let odd = select(vec![
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%2f",
        "%2F",
        "..%2f",
        "%2f..",
        "..;",
        ";",
        "a;b",
        "a%2fb",
        "%61",
        "%00",
        "%",
        "%2",
        "...",
        "~",
        "%252e%252e",
        "A",
        ":x",
        "*",
    ]);
    let segment = prop_oneof![select(vec!["a", "b", "f", ""]), odd];
    let query = select(vec!["", "", "?", "?x=/../y", "?a/b"]);
    (vec(segment, 1..5), query).prop_map(|(segments, query)| format!("/{}{query}", segments.join("/")))
}

/// Values of a kind, the same ones each time.
fn samples<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test]
async fn paths_mean_the_same_in_both_protocols_and_in_the_model() {
    const NAMES: [&str; PATTERNS.len()] = ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 "];
    let gateway = Gateway::new();
    for (name, pattern) in NAMES.iter().zip(PATTERNS) {
        gateway.plugin(name.trim(), &[&format!("GET {pattern}")], &[named(name).await]);
    }
    let mut client = Client::connect(&gateway).await;
    let mut seen = [0; 3];
    for target in samples(&path(), 600) {
        let (status_wanted, plugin) = verdict(target.split('?').next().unwrap());
        let old = gateway.get(&target).await;
        let new = client.ask(get(&target), b"").await.unwrap();
        let statuses = (status(&old), new.head.status().as_u16());
        assert_eq!(statuses, (status_wanted, status_wanted), "{target}");
        if let Some(plugin) = plugin {
            let start = format!("{plugin} GET {target} HTTP/1.1\r\n");
            assert!(body(&old).starts_with(&start), "{target}: {old}");
            assert!(new.body.starts_with(&start), "{target}: {}", new.body);
        }
        seen[match status_wanted {
            200 => 0,
            400 => 1,
            _ => 2,
        }] += 1;
    }
    assert!(seen.iter().all(|count| *count > 50), "each verdict is tried: {seen:?}");
}

/// Bytes in which parsers find something.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "HTTP/1.0",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Connection: upgrade\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Upgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "5\r\nabcde\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n\r\n",
        "x: ",
        ":",
        " ",
        "\0",
        "abc",
    ]);
    let head = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]);
    let block = prop_oneof![vec(any::<u8>(), 0..40), proptest::strategy::Just(head)];
    let framed = (0..12u8, any::<u8>(), 0..6u32, block)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let opening = [PREFACE.as_slice(), &frame(4, 0, 0, b"")].concat();
    prop_oneof![
        4 => text.prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 1..30),
        4 => framed,
        1 => proptest::strategy::Just(PREFACE.to_vec()),
        2 => proptest::strategy::Just(opening),
    ]
}

/// Counts the panics of traffic threads from now on.
fn panics() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, before) = (count.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let is_worker = thread.name().is_some_and(|name| name.starts_with("traffic-"));
        counter.fetch_add(is_worker.into(), Ordering::Relaxed);
        before(panic);
    }));
    count
}

#[tokio::test]
async fn no_bytes_stop_a_worker() {
    let panics = panics();
    let gateway = Gateway::new();
    let plugin = gateway.to(mirror().await);
    // Half of them begin as HTTP/2 does, so as to come further.
    let streams = samples(&(any::<bool>(), vec(bytes(), 1..12)), 800);
    for (is_http2, pieces) in &streams {
        let mut client = gateway.client().await;
        let opening: &[u8] = if *is_http2 { PREFACE } else { b"" };
        let stream = [opening, &pieces.concat()].concat();
        // The gateway may have closed the connection before all is sent.
        drop(client.stream.write_all(&stream).await);
        drop(client.stream.shutdown().await);
        client.rest().await;
    }
    until(|| totals(&plugin).in_flight == 0).await;
    assert_eq!(panics.load(Ordering::Relaxed), 0);
    // Each worker has connections of its own; which one gets the next is the kernel's choice.
    for _ in 0..20 {
        assert_eq!(status(&gateway.get("/x").await), 200);
        let answer = timeout(PATIENCE, async { Client::connect(&gateway).await.ask(get("/x"), b"").await });
        assert_eq!(answer.await.unwrap().unwrap().head.status(), 200);
    }
}
