//! Middleware that plugins provide: one call of gRPC to a pod of the plugin for each request, and
//! for its answer where that is wanted, over the connections that calls to plugins share. Without an
//! answer in time, the request ends or goes on, as the middleware says.

mod circuit;
mod message;
mod verdicts;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use forward_crds::FailureMode;
use forward_plan::{
    middleware::{Ask, Changes},
    routes::PluginId,
};
use forward_proto::plugin::v1::{OnRequestRequest, OnResponseRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use prost::Message;

pub use self::message::{About, Outcome, on_request, on_response};
use self::{
    circuit::Circuit,
    message::MOST_BODY,
    verdicts::{Key, Pods, Verdicts},
};
use super::{
    body::Upload,
    bulkhead::Place,
    exchange::{Failure, Patience},
    grpc,
    problem::Problem,
    resilience::{Policies, Target},
    snapshot::Plugin,
    stats::UpstreamError,
    worker::Worker,
};
use crate::callers::Caller;

/// What is called, at any authority: pods are called by their addresses.
const ON_REQUEST: &str = "http://plugin/goforward.plugin.v1.Middleware/OnRequest";
const ON_RESPONSE: &str = "http://plugin/goforward.plugin.v1.Middleware/OnResponse";
/// The largest answer: a body, and the rest of it.
const MOST_ANSWER: usize = MOST_BODY + 256 * 1024;
/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A plugin that is asked for one of its middleware.
#[derive(Debug)]
pub struct Callee {
    /// The plugin, by its name: it can be deleted and made anew.
    target: Arc<Target>,
    label: String,
    middleware: String,
    circuit: Circuit,
    verdicts: Verdicts,
}

/// A middleware of a chain for which a plugin is asked.
#[derive(Debug)]
pub struct Asked {
    ask: Ask,
    callee: Arc<Callee>,
}

/// What is known of who asks before the plugin is asked.
pub enum Recalled {
    /// What it has said before.
    Known(Arc<Caller>),
    /// Nothing, and here is where to keep it.
    Unknown(Option<Note>),
}

/// Where an answer may be kept: for what, and of which pods.
pub struct Note {
    key: Key,
    pods: Pods,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it has failed too often, and is asked again in a moment")]
    Paused,
    #[error("{}", .0.counted().as_str())]
    Exchange(Failure),
    #[error("it took too long")]
    Timeout,
    #[error("its answer broke off")]
    Broken(#[source] hyper::Error),
    #[error("it answered with the status {0}")]
    Status(String),
    #[error("it is not served, by the status {0}")]
    Unserved(String),
    #[error("its answer is not one of gRPC")]
    Framing,
    #[error("its answer cannot be read")]
    Decode(#[from] prost::DecodeError),
    #[error("its answer cannot be carried out")]
    Outcome(#[from] message::OutcomeError),
}

impl Callee {
    pub fn new(id: &PluginId, target: Arc<Target>, middleware: String) -> Self {
        Self {
            target,
            label: id.to_string(),
            middleware,
            circuit: Circuit::default(),
            verdicts: Verdicts::default(),
        }
    }
}

impl Asked {
    pub fn new(ask: Ask, callee: Arc<Callee>) -> Self {
        Self { ask, callee }
    }

    /// The middleware's name.
    pub fn name(&self) -> &str {
        &self.callee.middleware
    }

    /// Whether the plugin is asked about answers too.
    pub fn is_about_answers(&self) -> bool {
        self.ask.response
    }

    /// Up to how many bytes of a body it is shown.
    pub fn most_body(&self) -> Option<u64> {
        self.ask.body
    }

    /// What a request ends with that nothing was said about.
    pub fn unanswered(&self) -> Problem {
        let Callee { label, middleware, .. } = &*self.callee;
        Problem::Unanswered { plugin: label.clone(), middleware: middleware.clone() }
    }

    /// Ask about a request. `None`: it goes on without an answer.
    pub async fn request(
        &self,
        worker: &Rc<Worker>,
        question: OnRequestRequest,
    ) -> Result<Option<Outcome>, Problem> {
        self.ask(worker, ON_REQUEST, &question, |said| message::outcome(said, self.ask.identifies)).await
    }

    /// Ask about an answer. `None`: it stays as it is, without an answer.
    pub async fn response(
        &self,
        worker: &Rc<Worker>,
        question: OnResponseRequest,
    ) -> Result<Option<Changes>, Problem> {
        self.ask(worker, ON_RESPONSE, &question, message::answer_outcome).await
    }

    /// What the plugin has said before of who asks for `plugin` with these headers, if that holds.
    pub fn recall(&self, worker: &Worker, plugin: &PluginId, headers: &HeaderMap) -> Recalled {
        let Callee { target, verdicts, .. } = &*self.callee;
        let Some(key) = Key::of(plugin, &self.ask.cache_by, headers) else { return Recalled::Unknown(None) };
        let Some(asked) = target.plugin().filter(|asked| !asked.is_unhealthy()) else {
            return Recalled::Unknown(None);
        };
        let pods = Pods::of(&asked);
        match verdicts.find(&key, &pods, worker.clock.now()) {
            Some(caller) => Recalled::Known(caller),
            None => Recalled::Unknown(Some(Note { key, pods })),
        }
    }

    /// Keep what the plugin has said, for as long as it holds.
    pub fn keep(&self, worker: &Worker, Note { key, pods }: Note, caller: &Arc<Caller>, holds: Duration) {
        // Not what pods have said that are no longer asked.
        if self.callee.target.plugin().is_some_and(|asked| pods.are_of(&asked)) {
            self.callee.verdicts.keep(key, pods, caller.clone(), holds, worker.clock.now());
        }
    }

    /// Whether the plugin can be asked at present, so that it is worth to wait for what it is shown.
    /// Where it cannot, the request goes on or ends as without an answer.
    pub fn is_there(&self, worker: &Worker) -> Result<bool, Problem> {
        let absence = match self.callee.target.plugin() {
            Some(plugin) if plugin.is_unhealthy() => AskError::Exchange(Failure::Unhealthy),
            Some(plugin) if !plugin.endpoints().is_empty() => {
                if !self.callee.circuit.is_paused(worker.clock.now()) {
                    return Ok(true);
                }
                AskError::Paused
            }
            _ => AskError::Exchange(Failure::NoEndpoint),
        };
        self.without(worker, &absence).map(|()| false)
    }

    async fn ask<M: Message + Default, T>(
        &self,
        worker: &Rc<Worker>,
        target: &'static str,
        question: &impl Message,
        read: impl Fn(M) -> Result<T, message::OutcomeError>,
    ) -> Result<Option<T>, Problem> {
        let answered = match self.admit(worker) {
            Ok((plugin, place)) => {
                let since = Instant::now();
                let answered = self.exchange(worker, &plugin, target, question).await;
                if answered.is_ok() {
                    plugin.asked_pace.answered(since.elapsed());
                }
                drop(place);
                let answered = answered.and_then(|message| read(message).map_err(AskError::from));
                self.settle(worker, answered.as_ref().err());
                answered
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error) => self.without(worker, &error).map(|()| None),
        }
    }

    /// What becomes of a request without an answer: it goes on, or ends.
    fn without(&self, worker: &Worker, error: &AskError) -> Result<(), Problem> {
        let Self { ask, callee } = self;
        let (plugin, middleware, mode) = (&callee.label, &callee.middleware, ask.failure_mode);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::debug!(plugin, middleware, %error, cause, ?mode, "middleware without an answer");
        if let Some((kind, plugin)) = error.kind().zip(callee.target.plugin()) {
            plugin.stats[worker.index].error(kind);
        }
        match mode {
            FailureMode::Open => Ok(()),
            FailureMode::Closed => Err(self.unanswered()),
        }
    }

    /// Whether there is room for a question, and it is worth asking.
    fn admit(&self, worker: &Worker) -> Result<(Arc<Plugin>, Place), AskError> {
        let Callee { target, circuit, .. } = &*self.callee;
        let plugin = target.plugin().ok_or(AskError::Exchange(Failure::NoEndpoint))?;
        plugin.reach().map_err(AskError::Exchange)?;
        let place = plugin.wait_for_word(worker.clock.now());
        let place = place.ok_or(AskError::Exchange(Failure::Overloaded))?;
        if circuit.admits(worker.clock.now()) { Ok((plugin, place)) } else { Err(AskError::Paused) }
    }

    fn settle(&self, worker: &Worker, error: Option<&AskError>) {
        let Callee { label, middleware, circuit, .. } = &*self.callee;
        match error {
            None => circuit.succeeded(),
            // It has answered: what is wrong with that may lie with the request.
            Some(error) if !error.is_absence() => circuit.succeeded(),
            Some(error) if circuit.failed(worker.clock.now()) => {
                tracing::warn!(plugin = label, middleware, %error, "middleware is not asked for a while");
            }
            Some(_) => {}
        }
    }

    /// One call, bounded in its time as a whole.
    async fn exchange<M: Message + Default>(
        &self,
        worker: &Rc<Worker>,
        plugin: &Plugin,
        target: &'static str,
        question: &impl Message,
    ) -> Result<M, AskError> {
        let ask = &self.ask;
        let mut late = worker.clock.after(ask.deadline);
        let patience = Patience {
            clock: worker.clock.clone(),
            timeout: ask.deadline,
            least_rate: 0,
            progress: None,
            kept: None,
        };
        let request = request(target, ask, framed(question));
        let pods = (plugin, &Policies::usual().breaker);
        let mut exchange = pin!(async {
            let attempted = grpc::attempt(worker, pods, request, &patience, (&mut None, true)).await;
            let (response, _share) = attempted.map_err(AskError::Exchange)?;
            read(response).await
        });
        poll_fn(|cx| match exchange.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(answered),
            Poll::Pending => Pin::new(&mut late).poll(cx).map(|()| Err(AskError::Timeout)),
        })
        .await
    }
}

impl AskError {
    /// Whether nothing was heard of the plugin.
    fn is_absence(&self) -> bool {
        match self {
            Self::Paused | Self::Exchange(_) | Self::Timeout | Self::Broken(_) | Self::Unserved(_) => true,
            Self::Status(_) | Self::Framing | Self::Decode(_) | Self::Outcome(_) => false,
        }
    }

    /// As it is counted; what was not tried is not.
    fn kind(&self) -> Option<UpstreamError> {
        match self {
            Self::Paused => None,
            // The request is the gateway's own.
            Self::Exchange(Failure::Client | Failure::TooLarge | Failure::Stalled) => {
                Some(UpstreamError::Malformed)
            }
            Self::Exchange(failure) => Some(failure.counted()),
            Self::Timeout => Some(UpstreamError::Timeout),
            Self::Broken(_) => Some(UpstreamError::Broken),
            Self::Status(_) | Self::Unserved(_) | Self::Framing | Self::Decode(_) | Self::Outcome(_) => {
                Some(UpstreamError::Malformed)
            }
        }
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("the head of a request is some KiB"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn request(target: &'static str, ask: &Ask, message: Bytes) -> Request<Upload> {
    let mut request = Request::new(Upload::whole(message));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_static(target);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let timeout = HeaderValue::from_str(&format!("{}m", ask.deadline.as_millis()));
    headers.insert(grpc::TIMEOUT, timeout.expect("digits and a letter are a value"));
    request
}

/// The one message of an answer.
async fn read<M: Message + Default>(response: Response<Incoming>) -> Result<M, AskError> {
    if response.status() != StatusCode::OK {
        return Err(AskError::Unserved(response.status().to_string()));
    }
    check_status(response.headers())?;
    let collected = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => AskError::Broken(*error),
        Err(error) if error.is::<LengthLimitError>() => AskError::Framing,
        Err(_) => AskError::Framing,
    })?;
    let trailers = collected.trailers().ok_or(AskError::Framing)?;
    if !trailers.contains_key(grpc::STATUS) {
        return Err(AskError::Framing);
    }
    check_status(trailers)?;
    let bytes = collected.to_bytes();
    let (prefix, message) = bytes.split_at_checked(PREFIX).ok_or(AskError::Framing)?;
    let length = prefix[1..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if prefix[0] != 0 || length != message.len() {
        return Err(AskError::Framing);
    }
    Ok(M::decode(message)?)
}

/// An answer that fails at once says so in its head, others at their end.
fn check_status(headers: &HeaderMap) -> Result<(), AskError> {
    match headers.get(grpc::STATUS) {
        Some(status) if status != "0" => {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let message = headers.get(grpc::MESSAGE).map(text).unwrap_or_default();
            let told = format!("{} {message}", text(status));
            // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED and UNAVAILABLE.
            match ["1", "4", "8", "12", "14"].contains(&&*text(status)) {
                true => Err(AskError::Unserved(told)),
                false => Err(AskError::Status(told)),
            }
        }
        _ => Ok(()),
    }
}
