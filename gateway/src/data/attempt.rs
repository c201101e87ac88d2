//! From a request to the head of its answer: choose an endpoint, send, and send once more where that
//! can do no harm. That is what never reached a server, whatever it was; what is idempotent, has
//! no body, and met a connection that its plugin closed while it was idle; and, within a budget,
//! what is idempotent and has no body where an entry says so.

use std::{io::ErrorKind, rc::Rc};

use forward_crds::RetryCause;
use forward_plan::middleware::Retry;
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;

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

/// What it takes to send a request once more.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// How often a request may still be sent, and to whom not.
struct Tries<'a> {
    worker: &'a Rc<Worker>,
    plugin: &'a Plugin,
    policies: &'a Policies,
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
    let mut tries = Tries::new(worker, plugin, policies, &request);
    // An answer that is not the one that was wanted: better than none.
    let mut before = None;
    loop {
        let turn = match tries.turn() {
            Ok(turn) => turn,
            Err(failure) => return before.ok_or(Unanswered { failure, request: Some(request) }),
        };
        let call = Call::begin(worker, patience.kept, turn.endpoint(), tries.sent, &mut request);
        tries.sent += 1;
        let mut lease = Lease::new(turn.endpoint().clone(), worker.pool.clone(), worker.clock.clone());
        let key = lease.endpoint().key;
        if let Err(failure) = exchange::connect(&mut lease, &worker.clock).await {
            lease.endpoint().shun(SHUN);
            turn.end(failure.outcome());
            call.end::<()>(Err(&failure));
            tries.tried.push(key);
            tries.last = Some((failure, Measure::Resend));
            continue;
        }
        let link = lease.link().expect("connect leaves a connection");
        let reused = link.reused;
        let copied = reused || tries.retry.is_some() || policies.target().is_some();
        let copy = Copy::of(&request, copied);
        let answered = exchange::send(link, request, patience).await;
        turn.end(outcome(&answered, reused, policies));
        call.end(answered.as_ref());
        request = match (answered, copy) {
            (Err(Failure::Unsent(unsent)), _) => {
                let aborted = Failure::Connect(ErrorKind::ConnectionAborted.into());
                tries.last = Some((aborted, Measure::Resend));
                *unsent
            }
            (Err(failure), Some(copy)) if failure.is_stale() => {
                tries.last = Some((failure, Measure::Reconnect));
                copy.into_request()
            }
            (Err(failure), Some(copy)) if tries.repeats(|retry| is_on(retry, &failure), key) => {
                tries.last = Some((failure, Measure::Repeat));
                copy.into_request()
            }
            (Ok(response), Some(copy))
                if tries.repeats(|retry| retry.is_on_status(response.status()), key) =>
            {
                tries.last = Some((Failure::NoEndpoint, Measure::Repeat));
                before = Some((response, lease));
                copy.into_request()
            }
            (Ok(response), _) => return Ok((response, lease)),
            (Err(failure), copy) => {
                return before.ok_or(Unanswered { failure, request: copy.map(Copy::into_request) });
            }
        };
    }
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
    ) -> Self {
        let retry = policies.retry.as_ref().filter(|_| is_repeatable(request));
        if retry.is_some() {
            plugin.budgets[worker.index].count(worker.clock.now());
        }
        let repeats = retry.map_or(0, |retry| retry.attempts);
        let (left, tried) = (ATTEMPTS, Vec::new());
        Self { worker, plugin, policies, retry, left, sent: 0, repeats, tried, last: None }
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

    /// Whether the request is repeated after what came of it at an endpoint.
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

impl Copy {
    /// A copy of a request that may be sent twice, where one can be needed.
    fn of(request: &Request<Upload>, needed: bool) -> Option<Self> {
        (needed && is_repeatable(request)).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn into_request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::default());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}
