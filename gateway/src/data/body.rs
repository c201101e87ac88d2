//! Bodies on their way. Both directions pull: nothing is read from one side before the other
//! has taken what came before.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::task::JoinHandle;

use super::{
    bulkhead::Place,
    clock::{Clock, Deadline},
    compress::Encoder,
    grpc::{Code, Underway},
    headers,
    inflow::Inflow,
    pool::Lease,
    record::Record,
    stats::UpstreamError,
};

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the other side broke it off")]
    Source(#[from] hyper::Error),
    #[error("it is larger than it may be")]
    TooLarge,
    #[error("it stopped coming")]
    Stalled,
    #[error("compress it")]
    Compress(#[from] std::io::Error),
    #[error("what it belongs to is over")]
    Over,
}

/// A request's body on its way to the plugin.
#[derive(Debug, Default)]
pub struct Upload(Content);

#[derive(Debug, Default)]
enum Content {
    #[default]
    None,
    /// All of it is here.
    Whole(Bytes),
    Client(Uploading),
}

#[derive(Debug)]
struct Uploading {
    incoming: Incoming,
    /// How many bytes more it may have.
    left: u64,
    progress: Arc<Progress>,
}

/// How far an upload has come.
#[derive(Debug, Default)]
pub struct Progress {
    frames: AtomicU64,
    bytes: AtomicU64,
    /// Since when all of it is sent.
    done: OnceLock<Instant>,
    /// Its place among the uploads of a plugin, until it is done or answered.
    place: Mutex<Option<Place>>,
    failed: AtomicBool,
    /// There is more of it than may be.
    too_large: AtomicBool,
    /// The plugin would take more than the client has sent.
    starved: AtomicBool,
    /// Closed while the client waits to be told that it may send its body.
    closed: AtomicBool,
    /// Nobody wants the rest.
    over: AtomicBool,
    waker: AtomicWaker,
}

impl Upload {
    /// The body, and how to follow it; nothing to follow where there is none. With `expected`,
    /// the client is not asked for the body before [`Progress::open`]. A body of more than `most`
    /// bytes breaks off there.
    pub fn new(inflow: Inflow, expected: bool, most: Option<u64>) -> (Self, Option<Arc<Progress>>) {
        let incoming = match inflow {
            Inflow::Coming(incoming) => incoming,
            Inflow::Gathered(bytes) => return (Self::whole(bytes), None),
        };
        if incoming.is_end_stream() {
            return (Self::default(), None);
        }
        let progress = Arc::new(Progress { closed: AtomicBool::new(expected), ..Progress::default() });
        let left = most.unwrap_or(u64::MAX);
        (Self(Content::Client(Uploading { incoming, left, progress: progress.clone() })), Some(progress))
    }

    /// A body that is here.
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::default() } else { Self(Content::Whole(bytes)) }
    }

    /// Whether there is nothing to send.
    pub fn is_none(&self) -> bool {
        matches!(self.0, Content::None)
    }
}

impl Progress {
    /// How many pieces have passed: a number that grows while the upload moves.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn is_done(&self) -> bool {
        self.done().is_some()
    }

    /// Since when it is.
    pub fn done(&self) -> Option<Instant> {
        self.done.get().copied()
    }

    /// Take a place for as long as it goes on.
    pub fn count(&self, place: Option<Place>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place.filter(|_| !self.is_done());
    }

    fn finish(&self) {
        self.done.get_or_init(Instant::now);
        self.count(None);
    }

    /// Whether the client broke off, or sent what is no body.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Whether there is more of it than may be.
    pub fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// Whether the client has been waited for last.
    pub fn is_starved(&self) -> bool {
        self.starved.load(Relaxed)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Break the upload off, if it is not done.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
        self.waker.wake();
    }

    /// Ask the client for the body.
    pub fn open(&self) {
        self.closed.store(false, Relaxed);
        self.waker.wake();
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Uploading { incoming, left, progress } = match &mut self.0 {
            Content::Client(uploading) => uploading,
            Content::None => return Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Content::None;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        };
        if progress.is_closed() {
            progress.waker.register(cx.waker());
            return Poll::Pending;
        }
        if progress.over.load(Relaxed) {
            return Poll::Ready(Some(Err(BodyError::Over)));
        }
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        progress.starved.store(polled.is_pending(), Relaxed);
        progress.frames.fetch_add(polled.is_ready().into(), Relaxed);
        match &polled {
            Poll::Pending => progress.waker.register(cx.waker()),
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(rest) = left.checked_sub(length) else {
                    progress.too_large.store(true, Relaxed);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                };
                *left = rest;
                progress.bytes.fetch_add(length, Relaxed);
                if incoming.is_end_stream() {
                    progress.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => progress.failed.store(true, Relaxed),
            Poll::Ready(None) => progress.finish(),
        }
        polled.map(|frame| {
            frame.map(|read| {
                let mut read = read?;
                read.trailers_mut().map(headers::disown);
                Ok(read)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::None => true,
            Content::Whole(_) => false,
            Content::Client(uploading) => uploading.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::None => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Client(uploading) => uploading.incoming.size_hint(),
        }
    }
}

/// A response's body on its way to the client. While it comes from a plugin it moves that
/// connection too, and gives it back at the end.
pub struct Answer {
    source: Source,
    /// What the body ends with, once what came before has been sent.
    broken: Option<BodyError>,
    /// How long its source may be silent, where that is bounded.
    stall: Option<Box<Stall>>,
    /// What makes it smaller on its way.
    encoding: Option<Box<Encoding>>,
    /// Closed when the last byte has been handed over, or the client is gone.
    record: Option<Record>,
    /// The piece that the client has yet to take.
    untaken: Option<u64>,
}

/// An encoder, and what comes after its end.
struct Encoding {
    encoder: Encoder,
    trailers: Option<Frame<Bytes>>,
}

/// The time that a source may be silent for.
struct Stall {
    clock: Rc<Clock>,
    patience: Duration,
    deadline: Option<Deadline>,
}

enum Source {
    Full(Option<Bytes>),
    Lent(Incoming, Lease),
    Driven { incoming: Incoming, _driver: Driver },
    Call(Incoming, Underway),
}

/// The task that moves a connection, until dropped.
pub struct Driver(JoinHandle<()>);

impl Driver {
    pub fn new(lease: Lease) -> Self {
        Self(tokio::task::spawn_local(lease.drive()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    pub fn empty() -> Self {
        Self {
            source: Source::Full(None),
            broken: None,
            stall: None,
            encoding: None,
            record: None,
            untaken: None,
        }
    }

    pub fn full(bytes: Bytes) -> Self {
        Self {
            source: Source::Full(Some(bytes)),
            broken: None,
            stall: None,
            encoding: None,
            record: None,
            untaken: None,
        }
    }

    /// From a plugin, over a connection that this body moves.
    pub fn lent(incoming: Incoming, mut lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.settle();
            return Self::empty();
        }
        Self {
            source: Source::Lent(incoming, lease),
            broken: None,
            stall: None,
            encoding: None,
            record: None,
            untaken: None,
        }
    }

    /// From a plugin that goes on reading the request: the connection moves by itself, so that
    /// a client that sends all before it reads does not wait for itself.
    pub fn driven(incoming: Incoming, lease: Lease) -> Self {
        Self {
            source: Source::Driven { incoming, _driver: Driver::new(lease) },
            broken: None,
            stall: None,
            encoding: None,
            record: None,
            untaken: None,
        }
    }

    /// Break off once the source has been silent for this long, while the client would take more.
    pub fn bounded(mut self, clock: Rc<Clock>, patience: Duration) -> Self {
        if !self.is_end_stream() {
            self.stall = Some(Box::new(Stall { clock, patience, deadline: None }));
        }
        self
    }

    /// Make it smaller on its way.
    pub fn encode(&mut self, encoder: Encoder) {
        self.encoding = Some(Box::new(Encoding { encoder, trailers: None }));
    }

    /// Of a call. However it ends, it ends with a status.
    pub fn call(incoming: Incoming, underway: Underway) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self {
            source: Source::Call(incoming, underway),
            broken: None,
            stall: None,
            encoding: None,
            record: None,
            untaken: None,
        }
    }

    pub fn recorded(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    /// The client has what was handed over last, or nobody waits for that any more.
    fn taken(&mut self) {
        if let Some((record, key)) = self.record.as_ref().zip(self.untaken.take()) {
            record.take(key);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.taken();
    }
}

impl Stall {
    /// Ready when the source has been silent for too long. What was not asked for does not count:
    /// the time runs from when there was nothing to take.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { clock, patience, deadline } = self;
        Pin::new(deadline.get_or_insert_with(|| clock.after(*patience))).poll(cx)
    }
}

impl Answer {
    /// The next piece of it, as it came.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match &mut self.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Driven { incoming, .. } => Pin::new(incoming).poll_frame(cx),
            Source::Lent(incoming, lease) => poll_lent(incoming, lease, cx),
            Source::Call(incoming, underway) => {
                let (polled, error) = poll_call(incoming, underway, cx);
                if let Some(error) = error {
                    self.source = Source::Full(None);
                    if let Some(record) = &self.record {
                        record.error(error);
                    }
                }
                polled
            }
        };
        match polled {
            // An error closes the connection at once. The client is to get what came before it.
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(frame) => {
                if let Some(stall) = &mut self.stall {
                    stall.deadline = None;
                }
                Poll::Ready(frame.map(|read| read.map_err(BodyError::from)))
            }
            Poll::Pending => match &mut self.stall {
                Some(stall) => stall.poll(cx).map(|()| Some(Err(BodyError::Stalled))),
                None => Poll::Pending,
            },
        }
    }

    /// The next piece of it, made smaller. While there is more at once, it is gathered; before there
    /// is a wait, all that is gathered is sent.
    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let polled = self.poll_plain(cx);
            let Some(encoding) = &mut self.encoding else { return polled };
            let Encoding { encoder, trailers } = &mut **encoding;
            let (made, waits) = match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => (encoder.push(&data), false),
                    Err(frame) => {
                        *trailers = Some(frame);
                        (encoder.finish(), false)
                    }
                },
                Poll::Ready(None) if encoder.is_done() => return Poll::Ready(trailers.take().map(Ok)),
                Poll::Ready(None) => (encoder.finish(), false),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => (encoder.flush(), true),
            };
            match made {
                Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(_) if waits => return Poll::Pending,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        let polled = if self.encoding.is_some() { self.poll_encoded(cx) } else { self.poll_plain(cx) };
        if matches!(polled, Poll::Ready(Some(Ok(_)))) && !self.is_end_stream() {
            self.untaken = self.record.as_ref().map(Record::hand_over);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        if let Some(encoding) = &self.encoding {
            return encoding.encoder.is_done() && encoding.trailers.is_none();
        }
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Lent(incoming, _) | Source::Driven { incoming, .. } | Source::Call(incoming, _) => {
                incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.encoding.is_some() {
            return SizeHint::default();
        }
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Lent(incoming, _) | Source::Driven { incoming, .. } | Source::Call(incoming, _) => {
                incoming.size_hint()
            }
        }
    }
}

/// First what is there, and only then more from the connection: otherwise each piece would cost
/// another wake-up.
fn poll_lent(
    incoming: &mut Incoming,
    lease: &mut Lease,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let mut polled = Pin::new(&mut *incoming).poll_frame(cx);
    if polled.is_pending() {
        lease.poll(cx);
        polled = Pin::new(&mut *incoming).poll_frame(cx);
    }
    match &polled {
        Poll::Ready(None) => lease.settle(),
        Poll::Ready(Some(Ok(_))) if incoming.is_end_stream() => lease.settle(),
        Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        Poll::Ready(Some(Err(_))) => lease.close(),
    }
    polled
}

/// What comes of a body.
type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

/// What comes of a call, with the error where it is broken off: trailers are its end then.
fn poll_call(
    incoming: &mut Incoming,
    underway: &mut Underway,
    cx: &mut Context<'_>,
) -> (Polled, Option<UpstreamError>) {
    let end = |code: Code, message| Poll::Ready(Some(Ok(Frame::trailers(code.trailers(message)))));
    match Pin::new(incoming).poll_frame(cx) {
        Poll::Ready(Some(Err(error))) => {
            tracing::debug!(%error, "call broke");
            (end(Code::Unavailable, "the plugin broke off its answer"), Some(UpstreamError::Broken))
        }
        Poll::Pending if underway.poll_deadline(cx).is_ready() => {
            (end(Code::DeadlineExceeded, "the deadline is over"), Some(UpstreamError::Timeout))
        }
        polled => (polled, None),
    }
}
