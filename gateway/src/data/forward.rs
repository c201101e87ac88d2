//! From a route to an answer: choose an endpoint, send, and try again where that can do no harm.
//! Tried again is what never reached a server, whatever it was; and what is idempotent, has no
//! body, and met a connection that its plugin closed while it was idle.

use std::{io::ErrorKind, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request};
use hyper::{body::Incoming, ext, upgrade::OnUpgrade};

use super::{
    balance::pick,
    body::{Answer, Inflow, Progress, Upload},
    chain::Terms,
    clock::Tick,
    exchange::{self, Failure, Patience},
    headers,
    pool::Lease,
    problem::Problem,
    record::Record,
    snapshot::Route,
    stats::UpstreamError,
    tunnel,
    worker::Worker,
};

/// How often a request is sent at most.
pub const ATTEMPTS: usize = 3;
/// How long other endpoints are preferred to one that did not accept a connection: a second.
pub const SHUN: Tick = 10;

/// A request that is ready to be sent.
pub struct Outbound {
    pub route: Arc<Route>,
    pub request: Request<Upload>,
    pub progress: Option<Arc<Progress>>,
    /// The client's own connection, where it asks to change the protocol, and to which.
    pub upgrade: Option<(OnUpgrade, HeaderValue)>,
    pub terms: Terms,
}

/// What it takes to send a request once more.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Outbound {
    pub fn new(route: Arc<Route>, mut head: request::Parts, body: Inflow, terms: Terms) -> Self {
        let upgrading = head.extensions.remove::<OnUpgrade>();
        let stripped = headers::strip(&mut head.headers);
        let wanted = stripped.upgrade.filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
        let upgrade = upgrading.zip(wanted);
        if let Some((_, protocol)) = &upgrade {
            tunnel::set_upgrade(&mut head.headers, protocol.clone());
        } else if stripped.trailers {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        if stripped.trailers {
            head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if stripped.encoded {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let expects = head.version == Version::HTTP_11
            && head
                .headers
                .get(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (upload, progress) = Upload::new(body, expects, terms.body_limit);
        if progress.is_none() || !expects {
            head.headers.remove(header::EXPECT);
        }
        head.version = Version::HTTP_11;
        let mut request = Request::from_parts(head, upload);
        if expects && let Some(progress) = progress.clone() {
            ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    progress.open();
                }
            });
        }
        Self { route, request, progress, upgrade, terms }
    }
}

/// Send a request to its plugin.
pub async fn forward(
    worker: &Rc<Worker>,
    outbound: Outbound,
    record: &Record,
) -> Result<Response<Answer>, Problem> {
    let Outbound { route, request, progress, upgrade, terms } = outbound;
    let timeout = terms.answer.unwrap_or(worker.shared.settings.upstream_timeout);
    let patience = Patience { clock: worker.clock.clone(), timeout, progress };
    let (response, lease) = match attempt(worker, &route, request, &patience).await {
        Ok(answered) => answered,
        Err(failure) => return Err(explain(&route, &failure, &terms, record)),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (client, protocol) = upgrade.unzip();
        let underway = record.tunnel(&route.plugin);
        let opened =
            protocol.and_then(|protocol| tunnel::open(worker, client, &protocol, response, lease, underway));
        return opened
            .ok_or_else(|| malformed(&route, "changes a protocol that it was not asked to change", record));
    }
    let response = answer(response, lease, &patience).map_err(|reason| malformed(&route, reason, record))?;
    Ok(match terms.stall {
        Some(stall) => response.map(|body| body.bounded(worker.clock.clone(), stall)),
        None => response,
    })
}

/// The head of an answer, from the first endpoint that gives one.
async fn attempt(
    worker: &Rc<Worker>,
    route: &Route,
    mut request: Request<Upload>,
    patience: &Patience,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let mut tried = Vec::new();
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let endpoint = {
            let endpoints = route.plugin.endpoints();
            pick(&endpoints, &tried, worker.clock.now(), &worker.dice).cloned()
        };
        let Some(endpoint) = endpoint else { break };
        let mut lease = Lease::new(endpoint, worker.pool.clone(), worker.clock.clone());
        if let Err(failure) = exchange::connect(&mut lease, &worker.clock).await {
            lease.endpoint().shun(SHUN);
            tried.push(lease.endpoint().key);
            last = Some(failure);
            continue;
        }
        let link = lease.link().expect("connect leaves a connection");
        let copy = Copy::of(&request, link.reused);
        match exchange::send(link, request, patience).await {
            Ok(response) => return Ok((response, lease)),
            Err(Failure::Unsent(unsent)) => {
                request = *unsent;
                last = Some(Failure::Connect(ErrorKind::ConnectionAborted.into()));
            }
            Err(failure @ Failure::Broken { silent: true, .. }) => match copy {
                Some(copy) => {
                    request = copy.into_request();
                    last = Some(failure);
                }
                None => return Err(failure),
            },
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or(Failure::NoEndpoint))
}

impl Copy {
    /// A copy where it can be needed: of a request that may be repeated, before it is sent over
    /// a connection that may be stale.
    fn of(request: &Request<Upload>, reused: bool) -> Option<Self> {
        let may_be = reused && request.body().is_none() && request.method().is_idempotent();
        may_be.then(|| Self {
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

/// The plugin's answer as the client gets it.
fn answer(
    mut response: Response<Incoming>,
    lease: Lease,
    patience: &Patience,
) -> Result<Response<Answer>, &'static str> {
    let encodings = response.headers().get_all(header::TRANSFER_ENCODING);
    if !encodings.iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err("encodes its answer in a way that is not known");
    }
    if headers::strip(response.headers_mut()).encoded {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    *response.version_mut() = Version::HTTP_11;
    let reading = patience.progress.as_ref().is_some_and(|progress| !progress.is_done());
    let build = if reading { Answer::driven } else { Answer::lent };
    Ok(response.map(|incoming| build(incoming, lease)))
}

fn malformed(route: &Route, reason: &str, record: &Record) -> Problem {
    tracing::warn!(plugin = route.plugin.label, reason, "malformed answer");
    record.error(UpstreamError::Malformed);
    Problem::Upstream { plugin: route.plugin.label.clone(), error: UpstreamError::Malformed }
}

/// What the client is told; what we are told is logged here.
pub fn explain(route: &Route, failure: &Failure, terms: &Terms, record: &Record) -> Problem {
    let (kind, cause): (_, Option<&dyn std::error::Error>) = match failure {
        Failure::NoEndpoint => (UpstreamError::NoEndpoint, None),
        Failure::Unsent(_) => (UpstreamError::Connect, None),
        Failure::Connect(error) => (UpstreamError::Connect, Some(error)),
        Failure::Broken { error, .. } => (UpstreamError::Broken, Some(error)),
        Failure::Malformed(error) => (UpstreamError::Malformed, Some(error)),
        Failure::Timeout => (UpstreamError::Timeout, None),
        Failure::Client => return Problem::BadRequest("the request's body is not valid HTTP"),
        Failure::TooLarge => return Problem::ContentTooLarge(terms.body_limit.unwrap_or_default()),
        Failure::Stalled => return Problem::RequestTimeout,
    };
    record.error(kind);
    let plugin = &route.plugin.label;
    tracing::debug!(plugin, route = route.pattern, kind = kind.as_str(), error = cause, "no answer");
    Problem::Upstream { plugin: plugin.clone(), error: kind }
}
