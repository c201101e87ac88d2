//! From a request to the head of its answer: choose an endpoint, send, and send once more where that
//! can do no harm. That is what never reached a server, whatever it was; what is idempotent, has
//! no body, and met a connection that its plugin closed while it was idle; and, within a budget,
//! what is idempotent and has no body where an entry says so; also before there is an answer, where an
//! entry wants that.

use std::{future::Future, io::ErrorKind, pin::pin, rc::Rc, time::Duration};

use forward_crds::RetryCause;
use forward_plan::middleware::Retry;
use futures::future::{Either, select};
use http::{Request, Response, header};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    body::Upload,
    circuit::Outcome,
    clock::{SECOND, Tick},
    exchange::{self, Failure, Patience},
    pool::Lease,
    resilience::Policies,
    snapshot::{Endpoint, Plugin},
    span::Call,
    stats::Measure,
    turn::Turn,
    worker::Worker,
};

/// How often a request is sent at most, besides what an entry asks for.
pub const ATTEMPTS: usize = 3;
/// How long other endpoints are preferred to one that did not accept a connection: a second.
pub const SHUN: Tick = SECOND;

/// Why there is no answer, and the request where it may be sent to somebody else.
pub struct Unanswered {
    pub failure: Failure,
    pub request: Option<Request<Upload>>,
}

/// What came of a request at an endpoint.
struct Sent {
    lease: Lease,
    answered: Result<Response<Incoming>, Failure>,
    /// The request, where it may be sent once more.
    again: Option<Request<Upload>>,
}

/// How often a request may still be sent, and to whom not.
struct Tries<'a> {
    worker: &'a Rc<Worker>,
    plugin: &'a Plugin,
    policies: &'a Policies,
    patience: &'a Patience,
    /// What it is repeated on, where it may be repeated.
    retry: Option<&'a Retry>,
    left: usize,
    sent: usize,
    repeats: u32,
    tried: Vec<u64>,
    /// Why it is sent once more.
    last: Option<(Failure, Measure)>,
}

/// The head of an answer, from the first endpoint that gives one.
pub async fn attempt(
    worker: &Rc<Worker>,
    plugin: &Plugin,
    policies: &Policies,
    mut request: Request<Upload>,
    patience: &Patience,
) -> Result<(Response<Incoming>, Lease), Unanswered> {
    let mut tries = Tries::new(worker, plugin, policies, &request, patience);
    // An answer that is not the one that was wanted: better than none.
    let mut before = None;
    loop {
        let turn = match tries.turn() {
            Ok(turn) => turn,
            Err(failure) => return before.ok_or(Unanswered { failure, request: Some(request) }),
        };
        let Sent { lease, answered, again } = match tries.hedge_after(&request) {
            Some(after) => tries.hedged(turn, request, after).await,
            None => tries.send(turn, request).await,
        };
        let key = lease.endpoint().key;
        request = match (answered, again) {
            (Err(failure @ Failure::Connect(_)), Some(again)) => {
                tries.tried.push(key);
                tries.last = Some((failure, Measure::Resend));
                again
            }
            (Err(Failure::Unsent(unsent)), _) => {
                let aborted = Failure::Connect(ErrorKind::ConnectionAborted.into());
                tries.last = Some((aborted, Measure::Resend));
                *unsent
            }
            (Err(failure), Some(again)) if failure.is_stale() => {
                tries.last = Some((failure, Measure::Reconnect));
                again
            }
            (Err(failure), Some(again)) if tries.repeats(|retry| is_on(retry, &failure), key) => {
                tries.last = Some((failure, Measure::Repeat));
                again
            }
            (Ok(response), Some(again))
                if tries.repeats(|retry| retry.is_on_status(response.status()), key) =>
            {
                tries.last = Some((Failure::NoEndpoint, Measure::Repeat));
                before = Some((response, lease));
                again
            }
            (Ok(response), _) => return Ok((response, lease)),
            (Err(failure), again) => return before.ok_or(Unanswered { failure, request: again }),
        };
    }
}

/// Send a request to an endpoint; `copied`: it may be wanted once more.
async fn send(
    worker: &Rc<Worker>,
    policies: &Policies,
    patience: &Patience,
    turn: Turn<'_>,
    mut request: Request<Upload>,
    number: usize,
    copied: bool,
) -> Sent {
    let call = Call::begin(worker, patience.kept, turn.endpoint(), number, &mut request);
    let mut lease = Lease::new(turn.endpoint().clone(), worker.pool.clone(), worker.clock.clone());
    if let Err(failure) = exchange::connect(&mut lease, &worker.clock).await {
        if !failure.is_ours() {
            lease.endpoint().shun(SHUN);
        }
        turn.end(failure.outcome());
        call.end::<()>(Err(&failure));
        return Sent { lease, answered: Err(failure), again: Some(request) };
    }
    let link = lease.link().expect("connect leaves a connection");
    let reused = link.reused;
    let again = ((copied || reused) && is_repeatable(&request)).then(|| copy(&request));
    let answered = exchange::send(link, request, patience).await;
    turn.end(outcome(&answered, reused, policies));
    call.end(answered.as_ref());
    Sent { lease, answered, again }
}

/// What came of a request says of its endpoint.
fn outcome(answered: &Result<Response<Incoming>, Failure>, reused: bool, policies: &Policies) -> Outcome {
    match answered {
        Ok(response) if policies.breaker.is_failure(response.status()) => Outcome::Failed,
        Ok(_) => Outcome::Answered,
        // It accepts connections, and closes them before anything is sent.
        Err(Failure::Unsent(_)) if !reused => Outcome::Failed,
        Err(failure) => failure.outcome(),
    }
}

/// Whether a request is repeated after this; never where an answer has begun.
fn is_on(retry: &Retry, failure: &Failure) -> bool {
    match failure {
        Failure::Broken { heard: false, .. } => retry.is_on(RetryCause::Broken),
        Failure::Timeout => retry.is_on(RetryCause::Timeout),
        _ => false,
    }
}

impl<'a> Tries<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        plugin: &'a Plugin,
        policies: &'a Policies,
        request: &Request<Upload>,
        patience: &'a Patience,
    ) -> Self {
        let retry = policies.retry.as_ref().filter(|_| is_repeatable(request));
        if retry.is_some() {
            plugin.budgets[worker.index].count(worker.clock.now());
        }
        let repeats = retry.map_or(0, |retry| retry.attempts);
        let (left, tried) = (ATTEMPTS, Vec::new());
        Self { worker, plugin, policies, patience, retry, left, sent: 0, repeats, tried, last: None }
    }

    /// The next turn; why it was not answered where there is none.
    fn turn(&mut self) -> Result<Turn<'a>, Failure> {
        let Self { worker, plugin, policies, left, tried, last, .. } = self;
        let none = last.take();
        let turn = match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Turn::take(worker, plugin, &policies.breaker, tried)
            }
            None => Err(Failure::NoEndpoint),
        };
        match (turn, none) {
            (Ok(turn), Some((_, measure))) => {
                plugin.stats[worker.index].measure(measure);
                Ok(turn)
            }
            (Err(_), Some((failure, _))) => Err(failure),
            (turn, None) => turn,
        }
    }

    /// Send the request to an endpoint.
    fn send(&mut self, turn: Turn<'a>, request: Request<Upload>) -> impl Future<Output = Sent> + use<'a> {
        let Self { worker, policies, patience, .. } = *self;
        let number = self.sent;
        self.sent += 1;
        let copied = self.retry.is_some() || policies.target().is_some();
        send(worker, policies, patience, turn, request, number, copied)
    }

    /// The same, and after so long without an answer to another endpoint as well: what came of it where
    /// there was an answer first. The other request is broken off then, which says nothing of its endpoint.
    async fn hedged(&mut self, turn: Turn<'a>, request: Request<Upload>, after: Duration) -> Sent {
        let (key, again) = (turn.endpoint().key, copy(&request));
        let mut first = pin!(self.send(turn, request));
        if let Ok(sent) = timeout(after, &mut first).await {
            return sent;
        }
        let Some(turn) = self.hedge(key) else { return first.await };
        let second = pin!(self.send(turn, again));
        let is_wanted = |sent: &Sent| {
            let answer = sent.answered.as_ref();
            answer.is_ok_and(|it| self.retry.is_none_or(|retry| !retry.is_on_status(it.status())))
        };
        let (Either::Left((sent, other)) | Either::Right((sent, other))) = select(first, second).await;
        if is_wanted(&sent) {
            return sent;
        }
        let rest = other.await;
        // An answer is better than none.
        if sent.answered.is_ok() && !is_wanted(&rest) { sent } else { rest }
    }

    /// A turn at another endpoint than the one that takes long.
    fn hedge(&mut self, key: u64) -> Option<Turn<'a>> {
        if !self.repeats(|_| true, key) {
            return None;
        }
        self.last = Some((Failure::NoEndpoint, Measure::Hedge));
        let turn = self.turn().ok()?;
        self.tried.push(turn.endpoint().key);
        Some(turn)
    }

    /// After how long the request is sent to another endpoint as well. Where it asks for another
    /// protocol, two endpoints would begin to speak it.
    fn hedge_after(&self, request: &Request<Upload>) -> Option<Duration> {
        let after = self.retry.and_then(|retry| retry.hedge_after)?;
        let is_harmless = request.method().is_safe() && !request.headers().contains_key(header::UPGRADE);
        is_harmless.then_some(after)
    }

    /// Whether the request is sent once more after what came of it at an endpoint.
    fn repeats(&mut self, is_on: impl FnOnce(&Retry) -> bool, key: u64) -> bool {
        let Some(retry) = self.retry.filter(|retry| self.repeats > 0 && is_on(retry)) else { return false };
        self.tried.push(key);
        let endpoints = self.plugin.endpoints();
        let is_other =
            |it: &Endpoint| !self.tried.contains(&it.key) && !it.is_unhealthy() && it.circuit.is_closed();
        if !endpoints.iter().any(|it| is_other(it)) {
            return false;
        }
        let has_budget = self.plugin.budgets[self.worker.index].spend(retry.budget, self.worker.clock.now());
        if has_budget {
            self.repeats -= 1;
            self.left += 1;
        } else {
            self.plugin.stats[self.worker.index].measure(Measure::Forgo);
        }
        has_budget
    }
}

/// Whether a request does no more when it comes twice, and can be sent twice.
fn is_repeatable(request: &Request<Upload>) -> bool {
    request.body().is_none() && request.method().is_idempotent()
}

/// The same request once more, of one that is repeatable.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::default());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}
