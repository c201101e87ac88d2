//! What a collector gets of requests: a server of OTLP in this process takes it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use forward_gateway::{data::span::Spans, data::worker::Settings, export::Export};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tonic::{Request, Response, Status};

use crate::harness::*;

/// What has come.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|it| it.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let router = tonic::service::Routes::new(service).prepare().into_axum_router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    async fn spans(&self, count: usize) -> Vec<Span> {
        until(|| self.0.lock().unwrap().len() >= count).await;
        self.0.lock().unwrap().clone()
    }
}

/// A gateway that keeps this share of the traces, and where they go. Who asks here is a proxy that it
/// trusts.
async fn traced(ratio: f64) -> (Gateway, Collector, Arc<Spans>) {
    traced_behind(ratio, &["127.0.0.1/32"]).await
}

async fn traced_behind(ratio: f64, trusted: &[&str]) -> (Gateway, Collector, Arc<Spans>) {
    let collector = Collector::default();
    let address = collector.serve().await;
    let (spans, receiver) = Spans::new(ratio);
    let spans = Arc::new(spans);
    let mut export = Export::new(&format!("http://{address}"), "a", spans.clone(), receiver).unwrap();
    tokio::spawn(async move { export.run().await });
    let gateway = Gateway::with(Settings {
        spans: Some(spans.clone()),
        trusted: trusted.iter().map(|range| range.parse().unwrap()).collect(),
        ..Settings::default()
    });
    (gateway, collector, spans)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn ask(gateway: &Gateway, path: &str, flags: &str) -> String {
    let parent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n");
    gateway.ask(&format!("{head}traceparent: {parent}\r\ntracestate: a=b\r\n\r\n")).await
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == name);
    match found.and_then(|it| it.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name} of {span:?} is {other:?}"),
    }
}

#[tokio::test]
async fn what_is_kept_is_not_for_clients_to_say() {
    let (gateway, collector, spans) = traced_behind(0.0, &[]).await;
    gateway.plugin("p", &["GET /pay/:id"], &[mirror().await]);
    let answer = ask(&gateway, "/pay/7", "01").await;
    assert_eq!(value(body(&answer), "traceparent").unwrap(), format!("00-{TRACE}-b7ad6b7169203331-00"));
    let (gateway, all, _) = traced_behind(1.0, &[]).await;
    gateway.plugin("p", &["GET /pay/*rest"], &[mirror().await]);
    ask(&gateway, &format!("/pay/{}", "x".repeat(5000)), "00").await;
    let kept = all.spans(2).await;
    assert!(kept.iter().all(|span| attribute(span, "url.path").len() == 1024));
    assert!(collector.0.lock().unwrap().is_empty());
    assert_eq!(spans.dropped.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_leaves_leaves_a_span_of_what_was_asked_for_it() {
    let (gateway, collector, _) = traced(1.0).await;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.plugin("p", &["GET /pay/:id"], &[mute.local_addr().unwrap()]);
    let asked = ask(&gateway, "/pay/7", "01");
    tokio::time::timeout(std::time::Duration::from_millis(300), asked).await.unwrap_err();
    let all = collector.spans(2).await;
    let client = all.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!(attribute(client, "error.type"), "cancelled");
}

#[tokio::test]
async fn a_trace_goes_on_through_the_gateway_to_the_plugin() {
    let (gateway, collector, spans) = traced(0.0).await;
    gateway.plugin("p", &["GET /pay/:id"], &[mirror().await]);
    let answer = ask(&gateway, "/pay/7", "01").await;
    let seen = value(body(&answer), "traceparent").unwrap().to_owned();
    assert!(body(&answer).contains("tracestate: a=b"), "{answer}");
    let all = collector.spans(2).await;
    let server = all.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let client = all.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!((hex(&server.trace_id), hex(&client.trace_id)), (TRACE.to_owned(), TRACE.to_owned()));
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(seen, format!("00-{TRACE}-{}-01", hex(&client.span_id)), "what the plugin gets");
    assert_eq!((server.name.as_str(), client.name.as_str()), ("GET /pay/:id", "GET"));
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/pay/7"),
        ("http.route", "/pay/:id"),
        ("http.response.status_code", "200"),
        ("server.address", "shop.example"),
        ("goforward.plugin", "test/p"),
    ] {
        assert_eq!(attribute(server, name), expected);
    }
    assert_eq!(attribute(client, "server.address"), "127.0.0.1");
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    until(|| spans.sent.load(std::sync::atomic::Ordering::Relaxed) == 2).await;
}

#[tokio::test]
async fn each_attempt_is_a_span_and_what_failed_says_so() {
    let (gateway, collector, _) = traced(1.0).await;
    gateway.plugin("p", &["GET /x"], &[nobody(), nobody()]);
    assert_eq!(status(&gateway.get("/x").await), 503);
    let all = collector.spans(3).await;
    let server = all.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    assert!(server.parent_span_id.is_empty() && server.trace_id.iter().any(|byte| *byte != 0));
    assert_eq!(attribute(server, "http.response.status_code"), "503");
    let calls = all.iter().filter(|span| span.kind() == SpanKind::Client).collect::<Vec<_>>();
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!((&call.parent_span_id, &call.trace_id), (&server.span_id, &server.trace_id));
        assert_eq!(attribute(call, "error.type"), "connect");
        assert_eq!(call.status.as_ref().unwrap().code(), StatusCode::Error);
    }
    assert_ne!(calls[0].span_id, calls[1].span_id);
    assert_eq!(attribute(calls[1], "http.request.resend_count"), "1");
}

#[tokio::test]
async fn keeps_what_is_kept_elsewhere_and_its_share_of_what_begins_here() {
    let (gateway, collector, _) = traced(1.0).await;
    gateway.to(mirror().await);
    let answer = ask(&gateway, "/not-kept", "00").await;
    assert!(answer.contains(&format!("00-{TRACE}-b7ad6b7169203331-00")), "it is left as it is: {answer}");
    gateway.get("/kept").await;
    let all = collector.spans(2).await;
    assert!(all.iter().all(|span| attribute(span, "url.path") == "/kept"), "{all:?}");
    let (half, collector, _) = traced(0.5).await;
    half.to(mirror().await);
    for _ in 0..100 {
        half.get("/half").await;
    }
    ask(&half, "/last", "01").await;
    until(|| collector.0.lock().unwrap().iter().any(|span| attribute(span, "url.path") == "/last")).await;
    let count = collector.0.lock().unwrap().len() / 2;
    assert!((20..=80).contains(&count), "{count}");
}

#[tokio::test]
async fn drops_and_counts_what_nobody_takes() {
    let (spans, receiver) = Spans::new(1.0);
    let spans = Arc::new(spans);
    let gateway = Gateway::with(Settings { spans: Some(spans.clone()), ..Settings::default() });
    gateway.to(mirror().await);
    drop(receiver);
    assert_eq!(status(&gateway.get("/x").await), 200);
    until(|| spans.dropped.load(std::sync::atomic::Ordering::Relaxed) == 2).await;
    let (spans, receiver) = Spans::new(1.0);
    let spans = Arc::new(spans);
    let address = nobody();
    let mut export = Export::new(&format!("http://{address}"), "a", spans.clone(), receiver).unwrap();
    let gateway = Gateway::with(Settings { spans: Some(spans.clone()), ..Settings::default() });
    gateway.to(mirror().await);
    gateway.get("/x").await;
    until(|| totals_of(&gateway) == 1).await;
    export.flush().await;
    assert_eq!(spans.dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
}

/// How many requests have ended.
fn totals_of(gateway: &Gateway) -> u32 {
    let routes = gateway.shared.snapshot.load();
    let plugin = routes.routes()[0].route.plugin.clone();
    let course = forward_gateway::data::stats::Course::of(plugin.stats.iter());
    course.latencies.iter().sum()
}
