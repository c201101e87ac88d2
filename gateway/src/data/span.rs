//! What is recorded of the requests that a trace is kept of: a span for the request itself, and one
//! for each time that it is sent to a pod. Where nobody collects traces, or a request is not among
//! those that are kept, none of this is done.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;

use super::{
    balance::Dice,
    exchange::Failure,
    request::name_of,
    secure,
    snapshot::{Endpoint, Route},
    trace::{Context, TRACEPARENT},
    worker::Worker,
};

/// Spans that wait to be sent; what comes when they are so many is dropped.
const QUEUE: usize = 4096;

/// Where spans go.
#[derive(Debug)]
pub struct Spans {
    /// Of how many traces that begin here, by the trace's id: those that are less.
    below: u64,
    sender: mpsc::Sender<SpanData>,
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}

/// The trace of a request that is kept, and the request's own span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub trace: u128,
    pub span: u64,
}

/// The span of a request until its end.
#[derive(Debug)]
pub struct Served {
    pub kept: Kept,
    parent: Option<u64>,
    begun: SystemTime,
    attributes: Vec<KeyValue>,
}

/// One time that a request is sent to a pod, if that is recorded.
pub struct Call(Option<Box<Calling>>);

struct Calling {
    kept: Kept,
    parent: u64,
    begun: SystemTime,
    name: String,
    attributes: Vec<KeyValue>,
}

impl Spans {
    /// Those that are kept of this share of the traces that begin here, and where they are received.
    pub fn new(ratio: f64) -> (Self, mpsc::Receiver<SpanData>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let below = match ratio {
            ratio if ratio >= 1.0 => u64::MAX,
            ratio => (ratio.max(0.0) * 2_f64.powi(64)) as u64,
        };
        (Self { below, sender, sent: AtomicU64::default(), dropped: AtomicU64::default() }, receiver)
    }

    /// A request has come in. A trace that was begun elsewhere is kept if it is there; one that begins
    /// here, by chance.
    pub fn begin(&self, context: &Context, head: &mut request::Parts, dice: &Dice) -> Option<Box<Served>> {
        let Context { trace, span, is_kept, is_ours } = *context;
        let is_kept = if is_ours { (trace as u64) < self.below } else { is_kept };
        if !is_kept {
            return None;
        }
        let kept = Kept { trace, span: if is_ours { span } else { dice.roll() | 1 } };
        kept.tell(&mut head.headers);
        let mut attributes = vec![
            KeyValue::new("http.request.method", head.method.to_string()),
            KeyValue::new("url.path", head.uri.path().to_owned()),
            KeyValue::new("url.scheme", secure::scheme(&head.extensions)),
        ];
        if let Some(host) = head.headers.get(http::header::HOST) {
            attributes.push(KeyValue::new("server.address", name_of(host).into_owned()));
        }
        let parent = (!is_ours).then_some(span);
        Some(Box::new(Served { kept, parent, begun: SystemTime::now(), attributes }))
    }

    fn end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Kept {
    /// Have what comes next belong to this.
    fn tell(self, headers: &mut HeaderMap) {
        let text = format!("00-{:032x}-{:016x}-01", self.trace, self.span);
        let value = HeaderValue::from_str(&text).expect("hexadecimal digits and dashes are a header value");
        headers.insert(TRACEPARENT, value);
    }

    fn context(self) -> SpanContext {
        let (trace, span) = (TraceId::from(self.trace), SpanId::from(self.span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
    }
}

impl Served {
    /// The request has ended.
    pub fn end(mut self, spans: &Spans, method: &Method, status: StatusCode, route: Option<&Route>) {
        let name = match route {
            Some(route) => format!("{method} {}", route.pattern),
            None => method.to_string(),
        };
        if let Some(route) = route {
            self.attributes.push(KeyValue::new("http.route", route.pattern.clone()));
            self.attributes.push(KeyValue::new("goforward.plugin", route.plugin.label.clone()));
        }
        answered(&mut self.attributes, status);
        let failed = status.is_server_error();
        let Self { kept, parent, begun, attributes } = self;
        spans.end(SpanData {
            parent_span_is_remote: parent.is_some(),
            ..span(kept, parent, SpanKind::Server, name, begun, attributes, failed)
        });
    }
}

impl Call {
    /// A request is sent to a pod, the `tries`th time.
    pub fn begin<B>(
        worker: &Worker,
        kept: Option<Kept>,
        endpoint: &Endpoint,
        tries: usize,
        request: &mut Request<B>,
    ) -> Self {
        let Some(Kept { trace, span: parent }) = kept else { return Self(None) };
        let kept = Kept { trace, span: worker.dice.roll() | 1 };
        kept.tell(request.headers_mut());
        let mut attributes = vec![
            KeyValue::new("http.request.method", request.method().to_string()),
            KeyValue::new("url.path", request.uri().path().to_owned()),
            KeyValue::new("server.address", endpoint.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(endpoint.address.port())),
            KeyValue::new("k8s.pod.uid", endpoint.pod.clone()),
        ];
        if tries > 0 {
            let count = i64::try_from(tries).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("http.request.resend_count", count));
        }
        let (begun, name) = (SystemTime::now(), request.method().to_string());
        Self(Some(Box::new(Calling { kept, parent, begun, name, attributes })))
    }

    /// The head of an answer has come, or none will.
    pub fn end<B>(self, worker: &Worker, answered: Result<&Response<B>, &Failure>) {
        let (Some(calling), Some(spans)) = (self.0, &worker.shared.settings.spans) else { return };
        let Calling { kept, parent, begun, name, mut attributes } = *calling;
        let failed = match answered {
            Ok(response) => {
                self::answered(&mut attributes, response.status());
                // As the conventions have it: of a call, 4xx is a failure too.
                response.status().as_u16() >= 400
            }
            Err(failure) => {
                attributes.push(KeyValue::new("error.type", failure.counted().as_str()));
                true
            }
        };
        spans.end(span(kept, Some(parent), SpanKind::Client, name, begun, attributes, failed));
    }
}

fn answered(attributes: &mut Vec<KeyValue>, status: StatusCode) {
    attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        attributes.push(KeyValue::new("error.type", status.as_str().to_owned()));
    }
}

fn span(
    kept: Kept,
    parent: Option<u64>,
    span_kind: SpanKind,
    name: String,
    start_time: SystemTime,
    attributes: Vec<KeyValue>,
    failed: bool,
) -> SpanData {
    SpanData {
        span_context: kept.context(),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: false,
        span_kind,
        name: name.into(),
        start_time,
        end_time: SystemTime::now(),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("forward-gateway").build(),
    }
}
