//! The middleware of a route: what is done with a request before it goes to the plugin, and with
//! the answer on its way back.
//!
//! A chain is a flat list of steps, compiled together with the routes. A request goes through it
//! from the front until a step answers, or to its end; the answer, whoever gave it, goes back
//! through the steps that the request has passed. Nothing here waits: where a plugin is to be asked, or
//! a body to be looked at, the way is interrupted, and goes on from there.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use forward_plan::{
    Cidr,
    middleware::{
        self as plan, Ask, Compress, Cors, Entry, Headers, IpFilter, Permissions, RateKey, Redirect, Respond,
    },
    routes::PluginId,
};
use http::{
    HeaderValue, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
    request,
};

use super::{
    ask::{Asked, Callee},
    authenticate::Authenticate,
    body::Answer,
    bulkhead::Bulkhead,
    compress::{self, Encoding},
    cors, headers,
    judge::Judge,
    limit::{Limiter, Quota},
    path,
    problem::Problem,
    resilience::{Policies, Target},
    secure,
};
use crate::callers::{Caller, Callers};

/// The steps of a route.
#[derive(Debug)]
pub struct Chain {
    steps: Box<[Step]>,
    /// What it was compiled from, for those who ask.
    pub entries: Box<[Arc<Entry>]>,
    /// Of how many in a hundred requests a line is logged, where the route has a say in it.
    pub log_percent: Option<u8>,
    /// What is done where the plugin fails.
    pub policies: Policies,
    /// Only paths that everybody reads in the same way go on.
    plain_paths: bool,
}

/// What outlives a chain.
pub trait Kept {
    /// The counters of a rate limit.
    fn limiter(&mut self, entry: &Entry, limit: &plan::RateLimit) -> Arc<Limiter>;
    /// The requests that are under way by an entry.
    fn bulkhead(&mut self, entry: &Entry) -> Arc<Bulkhead>;
    /// The plugin that is asked for an entry.
    fn callee(&mut self, entry: &Entry) -> Option<Arc<Callee>>;
    /// Another plugin of the namespace.
    fn target(&mut self, name: &str) -> Arc<Target>;
}

/// Where a chain stands.
pub struct Site<'a> {
    pub plugin: &'a PluginId,
    pub callers: &'a Callers,
    /// Other routes of the plugin are guarded in another way: a path must not be taken for one of
    /// those.
    pub plain_paths: bool,
}

#[derive(Debug)]
enum Step {
    IpFilter(IpFilter),
    Cors(Cors),
    /// All entries together that say who asks by what a client shows, where the first of them stands: plugins that
    /// are asked behind it do not see what was shown.
    Authenticate(Authenticate),
    /// It acts with the first of them.
    Together,
    /// Whoever is nobody is asked for this.
    Permissions(Permissions, Vec<HeaderValue>),
    RateLimit(Arc<Limiter>),
    BodyLimit(u64),
    Timeout(plan::Timeout),
    Judge(Judge),
    Headers(Headers),
    Redirect(Redirect),
    Respond(Respond),
    Compress(Compress),
    /// It has acted before all others: see [`Chain::log_percent`].
    Log,
    /// It acts when the plugin is asked: see [`Chain::policies`].
    Policy,
    Ask(Asked),
    /// An entry of this name that cannot be carried out: nothing goes past it.
    Unusable(String),
}

/// A request that has come in.
pub struct Inbound<'a> {
    pub head: &'a mut request::Parts,
    /// The other end of the connection.
    pub peer: IpAddr,
    pub host: &'a HeaderValue,
    /// Proxies whose word about the client is believed.
    pub trusted: &'a [Cidr],
    /// How many replicas of the gateway share the limits.
    pub replicas: u32,
}

/// What a request takes along from the steps that it has passed.
#[derive(Debug, Default)]
pub struct Passage {
    /// How many steps those are.
    passed: usize,
    /// Those that it has passed without an answer of their plugins.
    unanswered: Vec<usize>,
    quotas: Vec<Quota>,
    encoding: Option<Encoding>,
    /// The page's origin, where an answer is for one.
    origin: Option<HeaderValue>,
    caller: Option<Arc<Caller>>,
    pub terms: Terms,
}

/// Where the way of a request leads.
pub enum Next<'a> {
    /// To the plugin that it is for.
    Plugin,
    /// Back, with this answer.
    Back(Box<Response<Answer>>),
    /// To a plugin that is asked about it.
    Ask(&'a Asked),
    /// To where its body is looked at.
    Judge(&'a Judge),
}

/// What bounds the exchange with the plugin; where several steps do, the tightest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// How many bytes the request's body may have.
    pub body_limit: Option<u64>,
    /// From the end of the request to the head of the answer.
    pub answer: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub stall: Option<Duration>,
}

impl Chain {
    /// The chain of a route.
    pub fn compile<'a>(
        entries: impl Iterator<Item = &'a Arc<Entry>> + Clone,
        site: &Site<'_>,
        kept: &mut impl Kept,
    ) -> Self {
        let policies = Policies::compile(entries.clone().map(Arc::as_ref), kept);
        let mut log_percent = None;
        let mut steps = Vec::new();
        let mut step = |entry: &Entry, steps: &mut Vec<Step>| match &entry.step {
            Ok(plan::Step::IpFilter(filter)) => Step::IpFilter(filter.clone()),
            Ok(plan::Step::Cors(cors)) => Step::Cors(cors.clone()),
            Ok(plan::Step::ApiKey(key)) => authenticate(steps, site.plugin, |all| {
                all.add_keys(&entry.name, key, site.callers);
            }),
            Ok(plan::Step::Jwt(jwt)) => authenticate(steps, site.plugin, |all| {
                all.add_tokens(&entry.name, jwt, site.callers);
            }),
            Ok(plan::Step::Permissions(needed)) => Step::Permissions(needed.clone(), challenges(steps)),
            Ok(plan::Step::RateLimit(limit)) => Step::RateLimit(kept.limiter(entry, limit)),
            Ok(plan::Step::BodyLimit(bytes)) => Step::BodyLimit(*bytes),
            Ok(plan::Step::Timeout(timeout)) => Step::Timeout(*timeout),
            Ok(plan::Step::Validate(validate)) => Step::Judge(Judge::new(&entry.name, validate)),
            Ok(plan::Step::Headers(headers)) => Step::Headers(headers.clone()),
            Ok(plan::Step::Redirect(redirect)) => Step::Redirect(redirect.clone()),
            Ok(plan::Step::Respond(respond)) => Step::Respond(respond.clone()),
            Ok(plan::Step::Compress(compress)) => Step::Compress(compress.clone()),
            Ok(
                plan::Step::CircuitBreaker(_)
                | plan::Step::Retry(_)
                | plan::Step::Concurrency(_)
                | plan::Step::Fallback(_),
            ) => Step::Policy,
            Ok(plan::Step::Log(percent)) => {
                log_percent = log_percent.max(Some(*percent));
                Step::Log
            }
            Ok(plan::Step::Ask(ask)) => match kept.callee(entry) {
                Some(callee) => Step::Ask(Asked::new(Ask::clone(ask), callee)),
                None => Step::Unusable(entry.name.clone()),
            },
            Err(_) => Step::Unusable(entry.name.clone()),
        };
        for entry in entries.clone() {
            let next = step(entry, &mut steps);
            steps.push(next);
        }
        let entries = entries.cloned().collect();
        Self { steps: steps.into(), entries, log_percent, plain_paths: site.plain_paths, policies }
    }

    /// Whether the browser's questions about the route are answered here.
    pub fn answers_preflights(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Cors(_)))
    }

    /// Whether nothing with this path gets anywhere: it could be taken for another one.
    pub fn refuses(&self, path: &str) -> bool {
        self.plain_paths && !path::is_plain(path)
    }

    /// Whether a plugin is asked about answers.
    pub fn asks_about_answers(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Ask(asked) if asked.is_about_answers()))
    }

    /// Take a request through the steps, from where it has come to.
    pub fn enter(&self, inbound: &mut Inbound<'_>, passage: &mut Passage) -> Result<Next<'_>, Problem> {
        if self.refuses(inbound.head.uri.path()) {
            return Err(Problem::BadRequest("the path can be read as another one"));
        }
        while let Some(step) = self.steps.get(passage.passed) {
            match step {
                Step::Ask(asked) => return Ok(Next::Ask(asked)),
                Step::Judge(judge) => return Ok(Next::Judge(judge)),
                _ => {}
            }
            if let Some(answer) = step.enter(inbound, passage)? {
                return Ok(Next::Back(Box::new(answer)));
            }
            passage.passed += 1;
        }
        Ok(Next::Plugin)
    }

    /// Take an answer back through the steps that its request has passed, from where it has come to.
    /// What is given is to be asked about it before it goes on.
    pub fn leave(&self, passage: &mut Passage, response: &mut Response<Answer>) -> Option<&Asked> {
        while let Some(at) = passage.passed.checked_sub(1) {
            passage.passed = at;
            match &self.steps[at] {
                Step::Ask(asked) if asked.is_about_answers() && !passage.unanswered.contains(&at) => {
                    return Some(asked);
                }
                Step::Cors(cors) => cors::tell(cors, passage.origin.as_ref(), response.headers_mut()),
                Step::Headers(headers) => headers.response.apply(response.headers_mut()),
                Step::Compress(policy) => compress::compress(policy, passage.encoding, response),
                Step::IpFilter(_)
                | Step::Authenticate(_)
                | Step::Together
                | Step::Permissions(..)
                | Step::RateLimit(_)
                | Step::BodyLimit(_)
                | Step::Timeout(_)
                | Step::Judge(_)
                | Step::Redirect(_)
                | Step::Respond(_)
                | Step::Log
                | Step::Policy
                | Step::Ask(_)
                | Step::Unusable(_) => {}
            }
        }
        None
    }
}

impl Passage {
    /// A plugin that was asked has said who asks; who is known already stays so.
    pub fn introduce(&mut self, inbound: &mut Inbound<'_>, caller: Option<Arc<Caller>>) {
        if let Some(caller) = caller.filter(|_| self.caller.is_none()) {
            headers::introduce(&mut inbound.head.headers, &caller, "plugin");
            self.caller = Some(caller);
        }
    }

    /// Who asks, as far as it has been said.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_deref()
    }

    /// The plugin that was to be asked lets the request go on, or gave no answer and that is let be.
    pub fn pass(&mut self, answered: bool) {
        if !answered {
            self.unanswered.push(self.passed);
        }
        self.passed += 1;
    }

    /// Say on an answer what is left of the limits.
    pub fn tell(&self, response: &mut Response<Answer>) {
        for quota in &self.quotas {
            quota.tell(response.headers_mut());
        }
    }
}

impl Step {
    fn enter(
        &self,
        inbound: &mut Inbound<'_>,
        passage: &mut Passage,
    ) -> Result<Option<Response<Answer>>, Problem> {
        match self {
            Self::IpFilter(filter) if filter.admits(inbound.client()) => {}
            Self::IpFilter(_) => return Err(Problem::Forbidden("requests from this address are not let in")),
            Self::Cors(cors) => {
                if let Some(answer) = cors::preflight(cors, inbound.head) {
                    return answer.map(Some);
                }
                passage.origin = cors::origin(&inbound.head.headers).cloned();
            }
            Self::Authenticate(all) => {
                // A key or token that holds goes before what a plugin has said.
                passage.caller = all.enter(inbound.head)?.or(passage.caller.take());
            }
            Self::Permissions(needed, challenges) => permit(needed, challenges, passage.caller.as_deref())?,
            Self::RateLimit(limiter) => inbound.count(limiter, passage)?,
            Self::BodyLimit(most) => {
                tighten(&mut passage.terms.body_limit, Some(*most));
                let length = inbound.head.headers.get(CONTENT_LENGTH);
                let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                if length.is_some_and(|length| length > *most) {
                    return Err(Problem::ContentTooLarge(*most));
                }
            }
            Self::Timeout(plan::Timeout { answer, stall }) => {
                tighten(&mut passage.terms.answer, *answer);
                tighten(&mut passage.terms.stall, *stall);
            }
            Self::Headers(headers) => headers.request.apply(&mut inbound.head.headers),
            Self::Compress(_) => passage.encoding = Encoding::of(inbound.head),
            Self::Log | Self::Policy | Self::Together => {}
            Self::Redirect(redirect) => return Ok(inbound.redirected(redirect)),
            Self::Respond(respond) => return Ok(Some(respond_with(respond))),
            // Who walks the chain asks, and judges.
            Self::Ask(_) | Self::Judge(_) => {}
            Self::Unusable(name) => return Err(Problem::Middleware(name.clone())),
        }
        Ok(None)
    }
}

impl Inbound<'_> {
    /// The client's address, as far as it can be known.
    pub fn client(&self) -> IpAddr {
        headers::client(&self.head.headers, self.peer, self.trusted)
    }

    /// The scheme that the client asked with, as far as it can be known.
    pub fn scheme(&self) -> &'static str {
        match secure::scheme(&self.head.extensions) {
            "https" => "https",
            _ => headers::scheme(&self.head.headers, self.peer, self.trusted),
        }
    }

    fn count(&self, limiter: &Arc<Limiter>, passage: &mut Passage) -> Result<(), Problem> {
        let quota = match limiter.policy().key() {
            RateKey::Everyone => limiter.take((), self.replicas),
            RateKey::Address => limiter.take(network(self.client()), self.replicas),
            RateKey::Header(name) => {
                let mut values = self.head.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (Some(value), None) => limiter.take(value.as_bytes(), self.replicas),
                    _ => limiter.take(network(self.client()), self.replicas),
                }
            }
        };
        let refused = quota.retry_after;
        passage.quotas.push(quota);
        refused.map_or(Ok(()), |seconds| Err(Problem::TooManyRequests(seconds)))
    }

    fn redirected(&self, redirect: &Redirect) -> Option<Response<Answer>> {
        let scheme = self.scheme();
        let uri = &self.head.uri;
        let location =
            redirect.location(scheme, self.host.to_str().unwrap_or_default(), uri.path(), uri.query())?;
        let mut response = Response::new(Answer::empty());
        *response.status_mut() = redirect.status;
        response.headers_mut().insert(LOCATION, location);
        Some(response)
    }
}

/// Have one more entry among those that say who asks.
fn authenticate(steps: &mut [Step], plugin: &PluginId, add: impl FnOnce(&mut Authenticate)) -> Step {
    let first = steps.iter_mut().find_map(|step| match step {
        Step::Authenticate(all) => Some(all),
        _ => None,
    });
    if let Some(all) = first {
        add(all);
        return Step::Together;
    }
    let mut all = Authenticate::new(plugin);
    add(&mut all);
    Step::Authenticate(all)
}

/// What a client can show on a route.
fn challenges(steps: &[Step]) -> Vec<HeaderValue> {
    let all = steps.iter().filter_map(|step| match step {
        Step::Authenticate(all) => Some(all.challenges()),
        _ => None,
    });
    all.flatten().collect()
}

fn permit(needed: &Permissions, challenges: &[HeaderValue], caller: Option<&Caller>) -> Result<(), Problem> {
    match caller.map(|caller| needed.missing(&caller.permissions)) {
        Some(None) => Ok(()),
        Some(Some(missing)) => Err(Problem::NotPermitted(missing.to_owned())),
        None if challenges.is_empty() => {
            Err(Problem::Forbidden("callers must be known here, and nothing says who asks"))
        }
        None => Err(Problem::Unauthorized {
            reason: "the request does not say who asks".to_owned(),
            challenges: challenges.to_vec(),
        }),
    }
}

/// Whose an address is: of IPv6 a client has a /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// An answer that is always the same.
pub fn respond_with(respond: &Respond) -> Response<Answer> {
    let Respond { status, content_type, body } = respond;
    let mut response = Response::new(Answer::full(Bytes::from(body.clone())));
    *response.status_mut() = *status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    response
}

fn tighten<T: Ord>(bound: &mut Option<T>, other: Option<T>) {
    *bound = match (bound.take(), other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_tightest_of_bounds() {
        let mut bound = None;
        tighten(&mut bound, None);
        assert_eq!(bound, None);
        for (other, expected) in [(Some(5), 5), (Some(7), 5), (None, 5), (Some(3), 3)] {
            tighten(&mut bound, other);
            assert_eq!(bound, Some(expected));
        }
    }

    #[test]
    fn takes_the_addresses_of_one_network_for_one_client() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("10.0.0.1"), network("::ffff:10.0.0.1"));
    }
}
