//! Events as they come: to every stream of every pod, once and in order.

use std::{thread, time::Duration};

use example_testing::{Postgres, Redis, await_that};
use serde_json::{Value, json};

use crate::{
    stream::{Message, Stream},
    tracker::{Tracker, postgres_config, redis_config},
};

const REALTIME: &str = "/api/analytics/realtime";

fn batch(types: impl IntoIterator<Item = String>) -> Value {
    json!({"events": types.into_iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>()})
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("e{i}")).collect()
}

/// Runs a test on each storage, with two pods.
fn on_each_storage(number: u8, name: &str, test: impl Fn([&Tracker; 2])) {
    let memory = Tracker::start(&json!({}));
    test([&memory, &memory]);
    let redis = Redis::shared();
    let config = redis_config(&redis.database(number));
    test([&Tracker::start(&config), &Tracker::start(&config)]);
    let postgres = Postgres::shared();
    let config = postgres_config(&postgres.database(name));
    test([&Tracker::start(&config), &Tracker::start(&config)]);
}

#[test]
fn an_event_reaches_the_streams_of_every_pod() {
    on_each_storage(4, "reaches", |[here, there]| {
        here.track(&json!({"type": "before"}));
        let (mut one, _) = Stream::open(here, REALTIME, "");
        let (mut other, _) = Stream::open(there, REALTIME, "");
        let (mut some, _) = Stream::open(there, &format!("{REALTIME}?type=e1&type=e3"), "");
        here.track(&batch(names(0..4)));
        there.track(&json!({"type": "last", "user_id": "ada", "properties": {"n": 1}}));
        assert_eq!(one.types(4), names(0..4), "what was before is not shown");
        assert_eq!(other.types(4), names(0..4));
        assert_eq!(some.types(2), ["e1", "e3"]);
        let last = one.next().unwrap().json();
        assert_eq!((&last["user_id"], &last["properties"]["n"]), (&json!("ada"), &json!(1)));
    });
}

#[test]
fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    on_each_storage(5, "comes_back", |[here, there]| {
        let (mut stream, _) = Stream::open(here, REALTIME, "");
        here.track(&batch(names(0..10)));
        assert_eq!(stream.types(6), names(0..6));
        let last = stream.next().unwrap();
        drop(stream);
        here.track(&batch(names(10..700)));
        let back = format!("Last-Event-ID: {}\r\n", last.id);
        let (mut stream, position) = Stream::open(there, REALTIME, &back);
        assert_eq!(position, last.id);
        assert_eq!(stream.types(693), names(7..700));
        there.track(&batch(names(700..702)));
        assert_eq!(stream.types(2), names(700..702));
        let by_parameter = format!("{REALTIME}?last_event_id={}", last.id);
        assert_eq!(Stream::open(there, &by_parameter, "").0.types(3), names(7..10));
    });
}

#[test]
fn many_writers_and_readers_agree_on_one_order() {
    on_each_storage(6, "one_order", |[here, there]| {
        let (mut first, _) = Stream::open(here, REALTIME, "");
        let seen = thread::scope(|scope| {
            for writer in 0..4 {
                let tracker = if writer % 2 == 0 { here } else { there };
                scope.spawn(move || {
                    for i in 0..25 {
                        tracker.track(&json!({"type": format!("w{writer}-{i}")}));
                    }
                });
            }
            // These come in the middle of it.
            let readers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| Stream::open(there, REALTIME, "")))
                .map(|reader| reader.join().unwrap())
                .collect();
            let seen: Vec<_> = (0..100).map(|_| first.next().unwrap()).collect();
            for (mut reader, begin) in readers {
                let begin: u64 = begin.parse().unwrap();
                for message in seen.iter().filter(|message| message.id.parse::<u64>().unwrap() > begin) {
                    assert_eq!(reader.next().as_ref(), Some(message));
                }
            }
            seen
        });
        let positions: Vec<u64> = seen.iter().map(|message| message.id.parse().unwrap()).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
        for writer in 0..4 {
            let own = seen.iter().map(Message::json).map(|event| event["type"].as_str().unwrap().to_owned());
            let own: Vec<_> = own.filter(|kind| kind.starts_with(&format!("w{writer}-"))).collect();
            assert_eq!(own, (0..25).map(|i| format!("w{writer}-{i}")).collect::<Vec<_>>());
        }
    });
}

#[test]
fn what_is_lost_is_told() {
    let tracker = Tracker::start(&json!({}));
    let (_, begin) = Stream::open(&tracker, REALTIME, "");
    for batch_of in 0..11 {
        tracker.track(&batch(names(batch_of * 1_000..(batch_of + 1) * 1_000)));
    }
    let (mut stream, _) = Stream::open(&tracker, &format!("{REALTIME}?last_event_id={begin}"), "");
    let gap = stream.next().unwrap();
    assert_eq!((gap.event.as_str(), gap.json()), ("gap", json!({"missing": 1_000})));
    assert_eq!(stream.types(2), names(1_000..1_002));
    let (mut stream, _) = Stream::open(&tracker, &format!("{REALTIME}?last_event_id=7"), "");
    let gap = stream.next().unwrap();
    assert_eq!(gap.json(), json!({"missing": null}), "7 is of another process");
}

#[test]
fn streams_end_when_the_plugin_is_asked_to_end() {
    let tracker = Tracker::start(&json!({}));
    let (mut stream, _) = Stream::open(&tracker, REALTIME, "");
    await_that("the stream is counted", || tracker.metric("analytics_streams").as_deref() == Some("1"));
    let begin = std::time::Instant::now();
    assert!(tracker.0.terminate(), "it ends well");
    assert_eq!(stream.next(), None);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn a_reader_that_reads_nothing_is_dropped() {
    let tracker = Tracker::start(&json!({}));
    let (_stuck, _) = Stream::open(&tracker, REALTIME, "");
    let large: Vec<_> =
        (0..100).map(|_| json!({"type": "large", "properties": {"text": "x".repeat(15_000)}})).collect();
    await_that("the stream is dropped", || {
        tracker.track(&json!({"events": large}));
        tracker.metric("analytics_streams_dropped_total").as_deref() == Some("1")
    });
    await_that("its place is free", || tracker.metric("analytics_streams").as_deref() == Some("0"));
}

#[test]
fn refuses_what_it_does_not_offer() {
    let off = Tracker::start(&json!({"enable_realtime": false}));
    let answer = off.0.get(REALTIME);
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("realtime_disabled")));
    let on = Tracker::start(&json!({}));
    assert_eq!(on.0.get(&format!("{REALTIME}?last_event_id=x")).status, 422);
    assert_eq!(on.0.get(&format!("{REALTIME}?kind=x")).status, 400);
}
