//! A proxy in front of the API server: it passes on what a program asks, notes it, and has go wrong
//! what its plan says.
//!
//! Writes are passed on one at a time, so that there is a moment right after each of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures::{TryStreamExt, future::BoxFuture};
use http::{Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    call::{Call, Verb},
    plan::{Course, Fault, Plan},
    watch::disturbed,
};

type Answer = Response<UnsyncBoxBody<Bytes, Lost>>;

/// What the one that asks the proxy is told at certain moments.
pub struct Hooks {
    /// A write is about to be passed on.
    pub before_write: Box<dyn Fn(Call) -> BoxFuture<'static, ()> + Send + Sync>,
    /// End the program that asks, at once. Ends once it is dead.
    pub kill: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was asked.
    pub call: Call,
    /// When it came.
    pub at: Instant,
    /// How the API server answered; absent where it was not asked, or has not answered yet.
    pub status: Option<u16>,
}

/// The proxy, at work until it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: Client,
    hooks: Hooks,
    course: Mutex<Course>,
    log: Mutex<Vec<Entry>>,
    fatal: Mutex<Vec<Call>>,
    /// Held while a write is under way.
    one_write: Arc<tokio::sync::Mutex<Writes>>,
    /// How often the program that asks has been ended: its connections are dead with it.
    deaths: AtomicUsize,
}

/// Writes since the program that asks was ended last.
#[derive(Default)]
struct Writes {
    since_death: usize,
}

/// The connection ends here.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the connection ends here, as the plan says")
    }
}

impl std::error::Error for Lost {}

impl Proxy {
    /// Listen on a port of the loopback, and ask the API server as `upstream` does.
    pub async fn start(upstream: Client, hooks: Hooks) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the operator")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            hooks,
            course: Mutex::default(),
            log: Mutex::default(),
            fatal: Mutex::default(),
            one_write: Arc::default(),
            deaths: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// From now on what `plan` says goes wrong, and nothing of what a plan before said.
    pub fn follow(&self, plan: Plan) {
        *lock(&self.shared.course) = Course::new(plan);
    }

    /// All requests so far, in the order in which they came.
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.shared.log).clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        lock(&self.shared.log).len()
    }

    /// The writes from the `from`th request on that the API server carried out, other than those to
    /// the Lease.
    pub fn steps(&self, from: usize) -> Vec<Call> {
        let carried_out = |entry: &&Entry| entry.status.is_some_and(|status| status < 300);
        let log = lock(&self.shared.log);
        let entries = log.iter().skip(from).filter(carried_out);
        entries.map(|entry| entry.call.clone()).filter(Call::is_step).collect()
    }

    /// How often something has gone wrong by the plan that is followed now.
    pub fn hits(&self) -> usize {
        lock(&self.shared.course).hits()
    }

    /// The writes right after which the one who asks was killed.
    pub fn fatal(&self) -> Vec<Call> {
        lock(&self.shared.fatal).clone()
    }

    /// How long there has been no write but to the Lease.
    pub fn quiet(&self) -> Duration {
        let log = lock(&self.shared.log);
        let last = log.iter().rev().find(|entry| entry.call.is_step());
        last.map_or(Duration::MAX, |entry| entry.at.elapsed())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // An error is one of the connection that was to come.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, shared.clone()));
        }
    }
}

/// Serves a connection to its end, which is often no orderly one.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let deaths = shared.deaths.load(Ordering::SeqCst);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.answer(request, deaths).await }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, deaths: usize) -> Result<Answer, Lost> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let call = Call::read(&parts.method, &parts.uri, &body);
        let place = self.note(&call);
        let fault = lock(&self.course).fate(&call);
        match fault {
            Some(Fault::Refuse { code, retry_after }) => return Ok(refusal(code, retry_after)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Lose | Fault::Cut) | None => {}
        }
        let answer = if call.is_step() {
            // What has begun is brought to its end, also where nobody waits for it any more.
            let writing = tokio::spawn(self.clone().write(parts, body, call.clone(), place, deaths));
            writing.await.map_err(|_| Lost)??
        } else {
            self.pass_on(parts, body, place).await?
        };
        match fault {
            Some(Fault::Lose) => Err(Lost),
            Some(Fault::Cut) => Ok(answer.map(cut)),
            _ if call.verb == Verb::Watch => Ok(self.follow_watch(answer, call)),
            _ => Ok(answer),
        }
    }

    fn note(&self, call: &Call) -> usize {
        let mut log = lock(&self.log);
        log.push(Entry { call: call.clone(), at: Instant::now(), status: None });
        log.len() - 1
    }

    /// Carry out a write, after which the one who asked for it may be dead.
    async fn write(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
        call: Call,
        place: usize,
        deaths: usize,
    ) -> Result<Answer, Lost> {
        let mut writes = self.one_write.lock().await;
        if self.deaths.load(Ordering::SeqCst) != deaths {
            return Err(Lost);
        }
        (self.hooks.before_write)(call.clone()).await;
        let answer = self.pass_on(parts, body, place).await?;
        writes.since_death += usize::from(answer.status().is_success());
        let every = lock(&self.course).kill_every();
        if every.is_some_and(|every| writes.since_death >= every) {
            (self.hooks.kill)().await;
            writes.since_death = 0;
            lock(&self.fatal).push(call);
            self.deaths.fetch_add(1, Ordering::SeqCst);
            return Err(Lost);
        }
        Ok(answer)
    }

    async fn pass_on(&self, mut parts: Parts, body: Bytes, place: usize) -> Result<Answer, Lost> {
        // The upstream's client says these for itself; a compressed watch could not be read here.
        for name in [header::HOST, header::AUTHORIZATION, header::ACCEPT_ENCODING, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        let request = Request::from_parts(parts, Body::from(body.to_vec()));
        let answer = self.upstream.send(request).await.map_err(|_| Lost)?;
        lock(&self.log)[place].status = Some(answer.status().as_u16());
        Ok(answer.map(|body| body.map_err(|_| Lost).boxed_unsync()))
    }

    fn follow_watch(self: &Arc<Self>, answer: Answer, watch: Call) -> Answer {
        let shared = self.clone();
        answer.map(|body| {
            let disturb = move || lock(&shared.course).disturb(&watch);
            let events = disturbed(body.into_data_stream(), disturb);
            StreamBody::new(events.map_ok(Frame::data)).boxed_unsync()
        })
    }
}

/// An answer of which the half comes.
fn cut(body: UnsyncBoxBody<Bytes, Lost>) -> UnsyncBoxBody<Bytes, Lost> {
    let begin = futures::stream::once(async move {
        let whole = body.collect().await?.to_bytes();
        Ok(Frame::data(whole.slice(..whole.len() / 2)))
    });
    let end = futures::stream::once(async { Err(Lost) });
    StreamBody::new(futures::StreamExt::chain(begin, end)).boxed_unsync()
}

/// An answer as the API server gives it itself.
fn refusal(code: u16, retry_after: Option<u32>) -> Answer {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "code": code, "message": "refused, as the plan says",
    });
    let mut answer = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        answer = answer.header(header::RETRY_AFTER, seconds);
    }
    let body = Full::from(status.to_string()).map_err(|never| match never {});
    answer.body(body.boxed_unsync()).expect("its parts are valid")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
