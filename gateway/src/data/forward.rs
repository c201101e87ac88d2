//! From a route to an answer: the plugin's, or what is to be answered where it has none.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request};
use hyper::{body::Incoming, ext, upgrade::OnUpgrade};

use super::{
    attempt::{Unanswered, attempt},
    body::{Answer, Progress, Upload},
    chain::{Terms, respond_with},
    clock::SECOND,
    exchange::{Failure, Patience},
    headers,
    inflow::Inflow,
    pool::Lease,
    problem::Problem,
    record::Record,
    resilience::Policies,
    snapshot::{Plugin, Route},
    stats::{Measure, UpstreamError},
    tunnel,
    worker::Worker,
};

/// A request that is ready to be sent.
pub struct Outbound {
    pub route: Arc<Route>,
    pub request: Request<Upload>,
    pub progress: Option<Arc<Progress>>,
    /// The client's own connection, where it asks to change the protocol, and to which.
    pub upgrade: Option<(OnUpgrade, HeaderValue)>,
    pub terms: Terms,
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
        let expected = head.headers.get(header::EXPECT);
        let (is_expected, expects) = (
            expected.is_some(),
            head.version == Version::HTTP_11
                && expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        );
        let (upload, progress) = Upload::new(body, expects, terms.body_limit);
        if is_expected && (progress.is_none() || !expects) {
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
    let (clock, kept, least_rate) = (worker.clock.clone(), record.kept(), worker.shared.settings.least_rate);
    let patience = Patience { clock, timeout, least_rate, progress, kept };
    let (response, lease) = match ask(worker, &route, request, &patience, record).await {
        Ok(answered) => answered,
        Err(failure) => return instead(&route, explain(&route, &failure, &terms, record), record),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (client, protocol) = upgrade.unzip();
        let underway = record.tunnel(&route.plugin);
        let opened =
            protocol.and_then(|protocol| tunnel::open(worker, client, &protocol, response, lease, underway));
        let unasked = "changes a protocol that it was not asked to change";
        return opened.map_or_else(|| instead(&route, malformed(&route, unasked, record), record), Ok);
    }
    let response = match answer(response, lease, &patience) {
        Ok(response) => response,
        Err(reason) => return instead(&route, malformed(&route, reason, record), record),
    };
    Ok(match terms.stall {
        Some(stall) => response.map(|body| body.bounded(worker.clock.clone(), stall)),
        None => response,
    })
}

/// What is answered in the place of a plugin that cannot, where that is wanted.
fn instead(route: &Route, problem: Problem, record: &Record) -> Result<Response<Answer>, Problem> {
    match (problem, route.policies().answer()) {
        (Problem::Upstream { .. }, Some(respond)) => {
            record.measure(Measure::Answer);
            Ok(respond_with(respond))
        }
        (problem, _) => Err(problem),
    }
}

/// The head of an answer: of the plugin or, where it has none, of another one that stands in for it,
/// and then by what holds without an entry, so that nothing goes round in circles.
async fn ask(
    worker: &Rc<Worker>,
    route: &Route,
    request: Request<Upload>,
    patience: &Patience,
    record: &Record,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let (own, policies) = (&route.plugin, route.policies());
    let Unanswered { failure, request } = match enter(worker, own, policies, request, patience, record).await
    {
        Ok(answered) => return Ok(answered),
        Err(unanswered) => unanswered,
    };
    let Some((request, other)) = request.zip(policies.substitute(own)) else { return Err(failure) };
    let answered = enter(worker, &other, Policies::usual(), request, patience, record).await;
    answered
        .inspect(|_| {
            record.measure(Measure::Substitute);
            record.error(failure.counted());
        })
        .map_err(|_| failure)
}

/// The head of a plugin's answer, where there is room for the request.
async fn enter(
    worker: &Rc<Worker>,
    plugin: &Plugin,
    policies: &Policies,
    request: Request<Upload>,
    patience: &Patience,
    record: &Record,
) -> Result<(Response<Incoming>, Lease), Unanswered> {
    let upload = patience.progress.as_deref();
    let admission = match policies.admit(worker, plugin, upload) {
        Ok(admission) => admission,
        Err(failure) => return Err(Unanswered { failure, request: Some(request) }),
    };
    let answered = attempt(worker, plugin, policies, request, patience).await;
    if answered.is_ok() {
        record.hold(admission.answered(plugin, upload));
    }
    answered
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
    Problem::Upstream { plugin: route.plugin.label.clone(), error: UpstreamError::Malformed, seconds: 1 }
}

/// What the client is told; what we are told is logged here.
pub fn explain(route: &Route, failure: &Failure, terms: &Terms, record: &Record) -> Problem {
    let (cause, seconds): (Option<&dyn std::error::Error>, _) = match failure {
        Failure::Client => return Problem::BadRequest("the request's body is not valid HTTP"),
        Failure::TooLarge => return Problem::ContentTooLarge(terms.body_limit.unwrap_or_default()),
        Failure::Stalled => return Problem::RequestTimeout,
        Failure::Connect(error) => (Some(error), 1),
        Failure::Broken { error, .. } | Failure::Malformed(error) => (Some(error), 1),
        Failure::Open(wait) => (None, wait.div_ceil(SECOND).max(1)),
        Failure::NoEndpoint
        | Failure::Unhealthy
        | Failure::Overloaded
        | Failure::Unsent(_)
        | Failure::Timeout => (None, 1),
    };
    let error = failure.counted();
    record.error(error);
    let plugin = &route.plugin.label;
    tracing::debug!(plugin, route = route.pattern, kind = error.as_str(), error = cause, "no answer");
    Problem::Upstream { plugin: plugin.clone(), error, seconds }
}
