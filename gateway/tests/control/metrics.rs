//! What Prometheus reads.

use std::{sync::Arc, time::Duration};

use forward_gateway::{
    control::{
        index::{Handle, Index, Object},
        process::Process,
    },
    data::{
        circuit::Outcome,
        snapshot::Match,
        span::Spans,
        stats::{BOUNDS, Measure, UpstreamError},
        worker::{Settings, Shared},
    },
    metrics::{Calls, Metrics},
    mounts::Count,
};
use forward_plan::middleware::CircuitBreaker;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    metrics_page::{rows, told},
    objects::{plugin, routes, slice},
};

/// What is told after a few requests for a plugin.
fn text() -> String {
    let spans = Some(Arc::new(Spans::new(1.0).0));
    let shared = Shared::new(Settings { spans, ..Settings::default() }, 2);
    let index = Handle::new(Index::new(shared.clone(), "gateway-a"));
    index.change(|index| {
        index.apply(Object::Plugin(Arc::new(plugin("pay", routes(&["GET /pay/:id"]), json!({})))));
        index.apply(slice("pay", &["pay-1", "pay-2"]));
    });
    let Match::Route(route) = shared.snapshot.load().find("", &Method::GET, "/pay/1") else {
        panic!("no route");
    };
    for worker in [0, 1, 1] {
        route.stats[worker].record(&Method::GET, StatusCode::OK, Duration::from_millis(3));
    }
    route.plugin.stats[1].enter();
    route.plugin.stats[0].error(UpstreamError::Timeout);
    for measure in Measure::ALL {
        route.plugin.stats[1].measure(measure);
    }
    let pods = route.plugin.endpoints().clone();
    let policy = CircuitBreaker { failures: 1, ..CircuitBreaker::default() };
    route.plugin.settle(&pods[0], Outcome::Failed, false, &policy, 0);
    shared.unmatched[0].record(&Method::POST, StatusCode::NOT_FOUND, Duration::ZERO);
    let calls = Calls::default();
    calls.described(true);
    calls.health(None);
    calls.wrote(true);
    calls.handshake("ok");
    calls.certificates(Count { current: 1, ..Count::default() }, Some(4_102_444_800));
    calls.key_sets(Count { current: 1, ..Count::default() });
    calls.fetched(true);
    let process = Process {
        memory_bytes: Some(1048576.0),
        cpu_seconds: Some(1.5),
        threads: Some(3.0),
        started: Some(1_800_000_000.0),
        requests: Some(3.0),
        last_request: Some(1_800_000_001.0),
    };
    let now = tokio::time::Instant::now();
    calls.processes.say(&route.plugin.id, "uid-pay-1", "pay-1", process, now);
    calls.alerts.sent("webhook", true);
    calls.alerts.dropped("webhook", 1);
    Metrics::new(shared, index, &calls).render().unwrap()
}

#[test]
fn the_page_lists_every_metric_with_its_labels_and_no_other() {
    assert_eq!(rows("forward_gateway_"), told(&text()));
}

#[test]
fn adds_up_the_workers_by_plugin_and_route() {
    let text = text();
    for line in [
        r#"forward_gateway_requests_total{plugin="shop/pay",route="/pay/:id",method="GET",status="2xx"} 3"#,
        r#"forward_gateway_requests_total{plugin="",route="",method="POST",status="4xx"} 1"#,
        r#"forward_gateway_request_duration_seconds_bucket{le="0.005",plugin="shop/pay",route="/pay/:id"} 3"#,
        r#"forward_gateway_request_duration_seconds_bucket{le="0.0025",plugin="shop/pay",route="/pay/:id"} 0"#,
        r#"forward_gateway_request_duration_seconds_bucket{le="+Inf",plugin="shop/pay",route="/pay/:id"} 3"#,
        r#"forward_gateway_request_duration_seconds_count{plugin="shop/pay",route="/pay/:id"} 3"#,
        r#"forward_gateway_upstream_errors_total{plugin="shop/pay",kind="timeout"} 1"#,
        r#"forward_gateway_in_flight{plugin="shop/pay"} 1"#,
        r#"forward_gateway_endpoints{plugin="shop/pay"} 2"#,
        r#"forward_gateway_ejected_endpoints{plugin="shop/pay"} 1"#,
        r#"forward_gateway_ejections_total{plugin="shop/pay"} 1"#,
        r#"forward_gateway_retries_total{plugin="shop/pay",kind="unsent"} 1"#,
        r#"forward_gateway_retries_total{plugin="shop/pay",kind="stale"} 1"#,
        r#"forward_gateway_retries_total{plugin="shop/pay",kind="repeated"} 1"#,
        r#"forward_gateway_retries_total{plugin="shop/pay",kind="refused"} 1"#,
        r#"forward_gateway_fallbacks_total{plugin="shop/pay",kind="respond"} 1"#,
        r#"forward_gateway_fallbacks_total{plugin="shop/pay",kind="plugin"} 1"#,
        r#"forward_gateway_describes_total{outcome="ok"} 1"#,
        r#"forward_gateway_health_checks_total{outcome="failed"} 1"#,
        r#"forward_gateway_plugin_memory_bytes{plugin="shop/pay",pod="pay-1"} 1048576.0"#,
        r#"forward_gateway_plugin_cpu_seconds_total{plugin="shop/pay",pod="pay-1"} 1.5"#,
        r#"forward_gateway_spans_total{outcome="dropped"} 0"#,
        "forward_gateway_routes 1",
        "forward_gateway_snapshot_version 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

#[test]
fn shows_with_each_bucket_a_request_that_a_trace_is_kept_of() {
    let shared = Shared::new(Settings::default(), 2);
    let index = Handle::new(Index::new(shared.clone(), "gateway-a"));
    index.change(|index| {
        index.apply(Object::Plugin(Arc::new(plugin("pay", routes(&["GET /pay/:id"]), json!({})))));
    });
    let Match::Route(route) = shared.snapshot.load().find("", &Method::GET, "/pay/1") else {
        panic!("no route");
    };
    let times = BOUNDS.iter().map(|bound| Duration::from_secs_f64(*bound)).chain([Duration::from_secs(99)]);
    for (trace, took) in (1_u128..).zip(times) {
        route.stats[0].record(&Method::GET, StatusCode::OK, took);
        route.stats[0].exemplify(took, 7);
        route.stats[1].exemplify(took, trace);
    }
    let text = Metrics::new(shared, index, &Calls::default()).render().unwrap();
    let with = text.lines().filter(|line| line.contains(" # {trace_id=")).collect::<Vec<_>>();
    assert_eq!(with.len(), BOUNDS.len() + 1, "{text}");
    let line = r#"{le="0.001",plugin="shop/pay",route="/pay/:id"} 2 # {trace_id="00000000000000000000000000000002"} 0.001 1"#;
    assert!(with.iter().any(|it| it.contains(line)), "{with:?}");
    assert!(text.ends_with("# EOF\n"));
}
