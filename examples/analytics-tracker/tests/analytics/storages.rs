//! The three storages mean the same, keep what they should, and come back.

use example_testing::{Postgres, Redis, await_that};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    stream::Stream,
    tracker::{Tracker, postgres_config, redis_config},
};

/// Events with every kind of value, some of them missing, over three hours before now.
fn events() -> Vec<Value> {
    let now = jiff::Timestamp::now();
    (0..400).map(|i| event(i, now - jiff::SignedDuration::from_secs(27 * i as i64))).collect()
}

fn event(i: usize, timestamp: jiff::Timestamp) -> Value {
    let amounts = [json!(i), json!(i as f64 / 7.0), json!(i.to_string()), json!(null)];
    let scales = [json!(100), json!(100.0), json!(1e2), json!("100"), json!(1e21), json!(-0.0)];
    let (names, kinds) = (["Zoë", "ada", "Ada", "_", "日本"], ["page_view", "order_completed", "search"]);
    let properties = json!({
        "amount": amounts[i % 4],
        "scale": scales[i % 6],
        "ok": i.is_multiple_of(3),
        "nested": {"amount": i},
        "name": names[i % 5],
    });
    json!({
        "id": format!("event-{i}"),
        "type": kinds[i % 3],
        "user_id": (!i.is_multiple_of(13)).then(|| format!("user-{}", i % 17)),
        "session_id": i.is_multiple_of(2).then(|| format!("s{}", i % 5)),
        "properties": if i.is_multiple_of(11) { json!({}) } else { properties },
        "timestamp": timestamp.to_string(),
    })
}

fn questions() -> Vec<Value> {
    let now = jiff::Timestamp::now();
    let of = |function: &str, field: &str| json!({"function": function, "field": field});
    let all = ["count", "distinct", "sum", "avg", "min", "max", "p50", "p90", "p95"];
    let all: Vec<_> = all.iter().map(|function| of(function, "properties.amount")).collect();
    let odd = json!({"function": "percentile", "percentile": 33.3, "field": "properties.amount"});
    vec![
        json!({}),
        json!({"aggregates": all}),
        json!({"group_by": ["type"], "aggregates": all}),
        json!({"group_by": ["type", "user_id"], "aggregates": [of("p99", "properties.amount"), odd]}),
        json!({"group_by": ["hour", "properties.ok"]}),
        json!({"group_by": ["minute"], "limit": 7}),
        json!({"group_by": ["day", "session_id", "properties.name"]}),
        json!({"group_by": ["properties.scale"]}),
        json!({"group_by": ["properties.nested"]}),
        json!({"group_by": ["properties.name"], "limit": 2}),
        json!({"event_type": "order_completed", "filters": {"properties.ok": false}}),
        json!({"filters": {"properties.scale": 100}}),
        json!({"filters": {"properties.scale": 100.0, "properties.name": "Zoë"}}),
        json!({"filters": {"properties.scale": "100"}}),
        json!({"filters": {"properties.amount": null}}),
        json!({"filters": {"user_id": null, "session_id": "s0"}}),
        json!({"filters": {"user_id": 5}}),
        json!({"filters": {"type": "search", "properties.none": true}, "group_by": ["type"]}),
        json!({"start": (now - jiff::SignedDuration::from_mins(90)).to_string(), "group_by": ["type"]}),
        json!({"end": (now - jiff::SignedDuration::from_mins(90)).to_string(), "group_by": ["type"]}),
        json!({"aggregates": [of("count", "user_id"), of("distinct", "user_id"), of("distinct", "properties.scale"),
            of("count", "properties.nested"), of("sum", "properties.none"), of("p50", "properties.none")]}),
    ]
}

/// Whether two answers are the same but for what additions in another order round off.
fn agree(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| agree(a, b))
        }
        _ => one == other,
    }
}

#[test]
fn every_storage_answers_the_same() {
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    let trackers = [
        Tracker::start(&json!({})),
        Tracker::start(&redis_config(&redis.database(1))),
        Tracker::start(&postgres_config(&postgres.database("answers"))),
    ];
    let events = json!({"events": events()});
    for tracker in &trackers {
        assert_eq!(tracker.track(&events), [400, 0, 0]);
        assert_eq!(tracker.track(&events), [0, 0, 400]);
    }
    for question in questions() {
        let [memory, redis, postgres] = trackers.each_ref().map(|tracker| tracker.query(&question));
        assert!(agree(&memory, &redis), "{question}\nmemory: {memory}\nredis: {redis}");
        assert!(agree(&memory, &postgres), "{question}\nmemory: {memory}\npostgres: {postgres}");
    }
    let scale = trackers[0].query(&json!({"group_by": ["properties.scale"]}));
    let keys: Vec<_> =
        scale["groups"].as_array().unwrap().iter().map(|group| &group["key"]["properties.scale"]).collect();
    assert_eq!(keys, [&json!(null), &json!("0"), &json!("100"), &json!("1000000000000000000000")]);
}

#[test]
fn what_was_tracked_survives_the_process() {
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    for config in [redis_config(&redis.database(2)), postgres_config(&postgres.database("survives"))] {
        let first = Tracker::start(&config);
        let second = Tracker::start(&config);
        assert_eq!(first.track(&json!({"id": "e", "type": "a"})), [1, 0, 0]);
        first.0.kill();
        assert_eq!(second.track(&json!({"id": "e", "type": "a"})), [0, 0, 1], "another pod knows the id");
        assert_eq!(second.count(), 1);
    }
}

#[test]
fn an_id_that_comes_to_many_pods_at_once_is_kept_once() {
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    for config in [redis_config(&redis.database(3)), postgres_config(&postgres.database("at_once"))] {
        let trackers = [Tracker::start(&config), Tracker::start(&config)];
        let batch =
            json!({"events": (0..50).map(|i| json!({"id": i.to_string(), "type": "a"})).collect::<Vec<_>>()});
        let accepted: u64 = std::thread::scope(|scope| {
            let send = |pod: usize| trackers[pod].track(&batch)[0];
            let senders: Vec<_> = (0..8).map(|i| scope.spawn(move || send(i % 2))).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        assert_eq!((accepted, trackers[0].count()), (50, 50));
    }
}

/// A storage that goes and comes back, with the process that uses it.
fn survives_outage(config: &Value, stop: impl FnOnce(), start: impl FnOnce()) {
    let tracker = Tracker::start(config);
    assert_eq!(tracker.track(&json!({"id": "before", "type": "a"})), [1, 0, 0]);
    let (healthy, health) = tracker.health();
    assert!(healthy && health.details["events_kept"] == "1", "{health:?}");
    stop();
    let (healthy, health) = tracker.health();
    assert!(!healthy && health.message.contains(&health.details["storage"]), "{health:?}");
    let answer = tracker.post("/api/analytics/track", &json!({"id": "during", "type": "a"}));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{answer:?}");
    assert_eq!(answer.json()["code"], "storage_unavailable");
    assert_eq!(tracker.post("/api/analytics/query", &json!({})).status, 503);
    assert_eq!(tracker.0.get("/api/analytics/realtime").status, 503);
    assert_eq!(tracker.0.get("/api/analytics/dashboard").status, 200, "the page needs no storage");
    start();
    let track = || tracker.post("/api/analytics/track", &json!({"id": "after", "type": "a"})).status == 202;
    await_that("events are taken again", track);
    assert_eq!(tracker.count(), 2);
    assert!(tracker.health().0);
}

#[test]
fn postgres_may_go_and_come_back() {
    let postgres = Postgres::start();
    let config = postgres_config(&postgres.database("outage"));
    survives_outage(&config, || postgres.stop(), || postgres.start_again());
}

#[test]
fn redis_may_go_and_come_back() {
    let redis = Redis::start();
    survives_outage(&redis_config(&redis.database(0)), || redis.stop(), || redis.start_again());
}

/// Three events, of which two came in long ago, and what remains of them.
fn forgets_what_is_too_old(config: &Value, make_two_old: impl AsyncFnOnce()) {
    let first = Tracker::start(config);
    let three: Vec<_> = ["a", "b", "c"].map(|id| json!({"id": id, "type": id})).into();
    assert_eq!(first.track(&json!({"events": three})), [3, 0, 0]);
    let (mut stream, begin) = Stream::open(&first, "/api/analytics/realtime", "");
    tokio::runtime::Runtime::new().unwrap().block_on(make_two_old());
    // It tidies up when it starts, and then every minute.
    let second = Tracker::start(config);
    await_that("two are forgotten", || {
        second.metric("analytics_events_expired_total").as_deref() == Some("2")
    });
    assert_eq!(first.count(), 1);
    assert_eq!(first.health().1.details["events_forgotten"], "2");
    second.track(&json!({"type": "d"}));
    let next = stream.next().unwrap();
    assert_eq!(next.json()["type"], "d");
    let position = begin.parse::<u64>().unwrap();
    assert_eq!(next.id.parse::<u64>().unwrap(), position + 1, "what was forgotten leaves its positions");
}

#[test]
fn postgres_forgets_what_is_too_old() {
    let postgres = Postgres::shared();
    let url = postgres.database("too_old");
    forgets_what_is_too_old(&postgres_config(&url), async || {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let old = "UPDATE analytics.events SET received_at = now() - interval '31 days' WHERE type <> 'c'";
        assert_eq!(sqlx::query(old).execute(&mut connection).await.unwrap().rows_affected(), 2);
    });
}

#[test]
fn redis_forgets_what_is_too_old() {
    let redis = Redis::shared();
    let url = redis.database(7);
    forgets_what_is_too_old(&redis_config(&url), async || {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        // An entry cannot be changed: all three are written anew, two of them with an old time.
        let script = "local all = redis.call('XRANGE', KEYS[1], '-', '+')
            redis.call('DEL', KEYS[1])
            for i, entry in ipairs(all) do
              local at = i < 3 and '1' or entry[2][2]
              redis.call('XADD', KEYS[1], entry[1], 'at', at, 'event', entry[2][4])
            end";
        let mut rewrite = redis::cmd("EVAL");
        rewrite.arg(script).arg(1).arg("{analytics}:events");
        rewrite.query_async::<()>(&mut connection).await.unwrap();
    });
}

#[test]
fn the_manifest_fits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.yaml");
    let manifest: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["version"], env!("CARGO_PKG_VERSION"));
    let mut config = manifest["spec"]["config"].clone();
    let postgres = Postgres::shared();
    config["database_url"] = json!(postgres.database("manifest"));
    let tracker = Tracker::start(&config);
    assert_eq!(tracker.health().1.details["storage"], "postgres");
}
