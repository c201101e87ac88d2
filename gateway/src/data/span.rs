//! What is recorded of the requests that a trace is kept of: a span for the request itself, and one
//! for each time that it is sent to a pod. Where nobody collects traces, or a request is not among
//! those that are kept, none of this is done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
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
/// The most bytes of a path that are recorded.
const LONGEST: usize = 1024;
/// The methods that the semantic conventions know.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

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
    name: &'static str,
    attributes: Vec<KeyValue>,
    spans: Option<Arc<Spans>>,
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

    /// A request has come in. A trace that was begun elsewhere is kept if it is there, where that is
    /// `believed`; others, by chance.
    pub fn begin(
        &self,
        context: &Context,
        believed: bool,
        head: &mut request::Parts,
        dice: &Dice,
    ) -> Option<Box<Served>> {
        let Context { trace, span, is_kept, is_ours } = *context;
        let is_kept = match (is_ours, believed) {
            (true, _) => (trace as u64) < self.below,
            (false, true) => is_kept,
            // Its id is the client's choice.
            (false, false) => dice.roll() < self.below,
        };
        if !is_kept {
            if !is_ours && !believed {
                tell(&mut head.headers, trace, span, "00");
            }
            return None;
        }
        let kept = Kept { trace, span: if is_ours { span } else { dice.roll() | 1 } };
        kept.tell(&mut head.headers);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method_of(&head.method)),
            KeyValue::new("url.path", path_of(&head.uri)),
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
        tell(headers, self.trace, self.span, "01");
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
            Some(route) => format!("{} {}", name_of_method(method), route.pattern),
            None => name_of_method(method).to_owned(),
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
            KeyValue::new("http.request.method", method_of(request.method())),
            KeyValue::new("url.path", path_of(request.uri())),
            KeyValue::new("server.address", endpoint.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(endpoint.address.port())),
            KeyValue::new("k8s.pod.uid", endpoint.pod.clone()),
        ];
        if tries > 0 {
            let count = i64::try_from(tries).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("http.request.resend_count", count));
        }
        let (begun, name) = (SystemTime::now(), name_of_method(request.method()));
        let spans = worker.shared.settings.spans.clone();
        Self(Some(Box::new(Calling { kept, parent, begun, name, attributes, spans })))
    }

    /// The head of an answer has come, or none will.
    pub fn end<B>(mut self, answered: Result<&Response<B>, &Failure>) {
        let Some(mut calling) = self.0.take() else { return };
        let failed = match answered {
            Ok(response) => {
                self::answered(&mut calling.attributes, response.status());
                // As the conventions have it: of a call, 4xx is a failure too.
                response.status().as_u16() >= 400
            }
            Err(failure) => {
                calling.attributes.push(KeyValue::new("error.type", failure.counted().as_str()));
                true
            }
        };
        calling.end(failed);
    }
}

impl Drop for Call {
    /// Nobody waits for the answer any more, as the client has left or another pod was faster: what the
    /// plugin records belongs to this.
    fn drop(&mut self) {
        if let Some(mut calling) = self.0.take() {
            calling.attributes.push(KeyValue::new("error.type", "cancelled"));
            calling.end(true);
        }
    }
}

impl Calling {
    fn end(self, failed: bool) {
        let Self { kept, parent, begun, name, attributes, spans } = self;
        let Some(spans) = spans else { return };
        spans.end(span(kept, Some(parent), SpanKind::Client, name.to_owned(), begun, attributes, failed));
    }
}

fn tell(headers: &mut HeaderMap, trace: u128, span: u64, flags: &str) {
    let text = format!("00-{trace:032x}-{span:016x}-{flags}");
    let value = HeaderValue::from_str(&text).expect("hexadecimal digits and dashes are a header value");
    headers.insert(TRACEPARENT, value);
}

/// A path, of which a client can make as much as a head may have.
fn path_of(uri: &Uri) -> String {
    let path = uri.path();
    path[..path.floor_char_boundary(LONGEST)].to_owned()
}

/// A method by the semantic conventions: what nobody knows is a client's word of any length.
fn method_of(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or("_OTHER")
}

fn name_of_method(method: &Method) -> &'static str {
    match method_of(method) {
        "_OTHER" => "HTTP",
        known => known,
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
