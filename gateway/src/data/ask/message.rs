//! What plugins are asked about requests and answers, and what their answers mean.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use forward_plan::middleware::{Changes, StepError, is_ours, is_permission};
use forward_proto::plugin::v1::{
    self, Continue, HeaderChanges, Identity, OnRequestRequest, OnRequestResponse, OnResponseRequest,
    OnResponseResponse, Redirect, Respond, on_request_response::Outcome as Said,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header::LOCATION, request};

use super::Asked;
use crate::{
    callers::Caller,
    data::{body::Answer, chain::Inbound, snapshot::Route},
};

/// How many headers an answer may name in each of its lists.
const MOST_HEADERS: usize = 128;
/// How many bytes those may have.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// How many permissions a caller may have.
const MOST_PERMISSIONS: usize = 256;
/// How large the body of an answer to the client may be.
pub const MOST_BODY: usize = 1024 * 1024;

/// What becomes of a request.
pub enum Outcome {
    /// It goes on with these changes, as that of this caller, which holds for so long.
    Continue(Changes, Option<Arc<Caller>>, Duration),
    /// That is the answer.
    Answer(Box<Response<Answer>>),
}

/// Why an answer cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    #[error("it has no outcome that is known")]
    Unknown,
    #[error("status {0} is not one that it can have")]
    Status(u32),
    #[error("its location cannot be the value of a header")]
    Location,
    #[error("it has a body of {0} bytes")]
    Body(usize),
    #[error("it names too many headers")]
    TooMany,
    #[error("only a middleware of the phase Authenticate may say who asks")]
    Phase,
    #[error("it has a subject that cannot be told in a header")]
    Subject,
    #[error("it has permissions that are none, or too many of them")]
    Permissions,
    #[error(transparent)]
    Header(#[from] StepError),
}

/// What to remember of a request until there is an answer to ask about.
pub struct About {
    pub method: Method,
    pub path: String,
}

impl About {
    pub fn of(head: &request::Parts) -> Self {
        Self { method: head.method.clone(), path: head.uri.path().to_owned() }
    }
}

/// The question about a request.
pub fn on_request(
    asked: &Asked,
    route: &Route,
    (inbound, caller): (&Inbound<'_>, Option<&Caller>),
    body: Option<Bytes>,
    id: &HeaderValue,
) -> OnRequestRequest {
    let uri = &inbound.head.uri;
    OnRequestRequest {
        middleware: asked.name().to_owned(),
        plugin: route.plugin.id.name.clone(),
        route: route.pattern.clone(),
        path_parameters: parameters(&route.pattern, uri.path()),
        method: inbound.head.method.to_string(),
        scheme: inbound.scheme().to_owned(),
        host: text(inbound.host),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers(&inbound.head.headers),
        client_address: inbound.client().to_string(),
        request_id: text(id),
        body: body.map(|body| body.to_vec()),
        identity: caller.map(|caller| Identity {
            subject: text(&caller.subject),
            permissions: caller.permissions.iter().cloned().collect(),
        }),
    }
}

/// The question about an answer.
pub fn on_response(
    asked: &Asked,
    route: &Route,
    about: &About,
    id: &HeaderValue,
    response: &Response<Answer>,
) -> OnResponseRequest {
    OnResponseRequest {
        middleware: asked.name().to_owned(),
        plugin: route.plugin.id.name.clone(),
        route: route.pattern.clone(),
        method: about.method.to_string(),
        path: about.path.clone(),
        request_id: text(id),
        status: response.status().as_u16().into(),
        headers: headers(response.headers()),
    }
}

/// What was said about a request; by one that `identifies`, who asks too.
pub fn outcome(answer: OnRequestResponse, identifies: bool) -> Result<Outcome, OutcomeError> {
    match answer.outcome.ok_or(OutcomeError::Unknown)? {
        Said::Continue(Continue { headers, identity, cache_for }) => {
            let caller = identity.map(|identity| caller(identity, identifies)).transpose()?.map(Arc::new);
            // What changes is not kept, and a time that cannot be is none.
            let unchanged = headers.as_ref().is_none_or(|headers| *headers == HeaderChanges::default());
            let holds = cache_for.filter(|_| unchanged && caller.is_some());
            let holds = holds.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
            Ok(Outcome::Continue(changes(headers)?, caller, holds))
        }
        Said::Respond(respond) => Ok(Outcome::Answer(Box::new(answered(respond)?))),
        Said::Redirect(redirect) => Ok(Outcome::Answer(Box::new(redirected(redirect)?))),
    }
}

fn caller(identity: Identity, identifies: bool) -> Result<Caller, OutcomeError> {
    let Identity { subject, permissions } = identity;
    if !identifies {
        return Err(OutcomeError::Phase);
    }
    if permissions.len() > MOST_PERMISSIONS || !permissions.iter().all(|text| is_permission(text)) {
        return Err(OutcomeError::Permissions);
    }
    Caller::new(&subject, permissions.into_iter().collect()).ok_or(OutcomeError::Subject)
}

/// What was said about an answer.
pub fn answer_outcome(answer: OnResponseResponse) -> Result<Changes, OutcomeError> {
    changes(answer.headers)
}

fn changes(changes: Option<HeaderChanges>) -> Result<Changes, OutcomeError> {
    let HeaderChanges { remove, set, add } = changes.unwrap_or_default();
    bound(set.iter().chain(&add))?;
    if remove.len() > MOST_HEADERS {
        return Err(OutcomeError::TooMany);
    }
    let pairs = |list: Vec<v1::Header>| list.into_iter().map(|header| (header.name, header.value));
    Ok(Changes::of(remove, pairs(set), pairs(add))?)
}

fn bound<'a>(headers: impl Iterator<Item = &'a v1::Header>) -> Result<(), OutcomeError> {
    let (mut count, mut bytes) = (0, 0);
    for header in headers {
        count += 1;
        bytes += header.name.len() + header.value.len();
    }
    // More would not fit into a head.
    if count > MOST_HEADERS || bytes > MOST_HEADER_BYTES { Err(OutcomeError::TooMany) } else { Ok(()) }
}

fn answered(respond: Respond) -> Result<Response<Answer>, OutcomeError> {
    let Respond { status, headers, body } = respond;
    bound(headers.iter())?;
    let code = status_of(status, |status| (200..600).contains(&status))?;
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    if body.len() > MOST_BODY || (bodiless.contains(&code) && !body.is_empty()) {
        return Err(OutcomeError::Body(body.len()));
    }
    let headers = headers.into_iter().map(|header| (header.name, header.value));
    let headers = Changes::of(Vec::new(), Vec::new(), headers)?;
    let body = if body.is_empty() { Answer::empty() } else { Answer::full(Bytes::from(body)) };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    headers.apply(response.headers_mut());
    Ok(response)
}

fn redirected(redirect: Redirect) -> Result<Response<Answer>, OutcomeError> {
    let Redirect { location, status } = redirect;
    let status = if status == 0 { StatusCode::FOUND.as_u16().into() } else { status };
    let code = status_of(status, |status| [301, 302, 303, 307, 308].contains(&status))?;
    let visible = !location.is_empty() && location.bytes().all(|byte| byte.is_ascii_graphic());
    let location = HeaderValue::from_str(&location).ok().filter(|_| visible).ok_or(OutcomeError::Location)?;
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = code;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn status_of(status: u32, allowed: impl Fn(u32) -> bool) -> Result<StatusCode, OutcomeError> {
    let code = u16::try_from(status).ok().filter(|_| allowed(status));
    code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(OutcomeError::Status(status))
}

/// The headers that a middleware may change; the others are not its business, and what a stranger
/// writes into those that say who asked is not to be believed.
fn headers(headers: &HeaderMap) -> Vec<v1::Header> {
    let all = headers.iter().filter(|(name, _)| !is_ours(name));
    all.map(|(name, value)| v1::Header { name: name.to_string(), value: value.as_bytes().to_vec() }).collect()
}

/// What stands in a path for the parameters of its pattern.
fn parameters(pattern: &str, path: &str) -> BTreeMap<String, String> {
    let mut left = path.strip_prefix('/').unwrap_or(path);
    let mut found = BTreeMap::new();
    for segment in pattern.strip_prefix('/').unwrap_or(pattern).split('/') {
        if let Some(name) = segment.strip_prefix('*') {
            found.insert(name.to_owned(), left.to_owned());
            break;
        }
        let (one, rest) = left.split_once('/').unwrap_or((left, ""));
        if let Some(name) = segment.strip_prefix(':') {
            found.insert(name.to_owned(), one.to_owned());
        }
        left = rest;
    }
    found
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_stands_for_parameters() {
        let found = |pattern: &str, path: &str| {
            let found = parameters(pattern, path).into_iter().map(|(name, value)| format!("{name}={value}"));
            found.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("/", "/"), "");
        assert_eq!(found("/a/:id", "/a/7"), "id=7");
        assert_eq!(found("/a/:id/b/:other", "/a/7%2F8/b/x"), "id=7%2F8 other=x");
        assert_eq!(found("/a/*rest", "/a/b/c/"), "rest=b/c/");
        assert_eq!(found("/*all", "/x"), "all=x");
    }

    #[test]
    fn refuses_what_cannot_be_carried_out() {
        let header = |name: &str, value: &str| v1::Header { name: name.into(), value: value.into() };
        let set = |set: Vec<v1::Header>| {
            let changes = HeaderChanges { set, ..HeaderChanges::default() };
            Said::Continue(Continue { headers: Some(changes), ..Continue::default() })
        };
        let respond = |status: u32, headers: Vec<v1::Header>, body: &str| {
            Said::Respond(Respond { status, headers, body: body.into() })
        };
        let redirect =
            |status: u32, location: &str| Said::Redirect(Redirect { status, location: location.to_owned() });
        let who = |subject: &str, permission: &str| {
            let identity = Identity { subject: subject.to_owned(), permissions: vec![permission.to_owned()] };
            Said::Continue(Continue { identity: Some(identity), ..Continue::default() })
        };
        let try_out = |said: Option<Said>| outcome(OnRequestResponse { outcome: said }, true);
        let many = (0..200).map(|n| header(&format!("x-{n}"), "1")).collect::<Vec<_>>();
        for said in [
            set(vec![header("content-length", "3")]),
            set(vec![header("Host", "other")]),
            set(vec![header("x-forwarded-for", "6.6.6.6")]),
            set(vec![header("a b", "1")]),
            set(vec![header("x-a", "1\r\nx-b: 2")]),
            set(vec![header("x-a", &"1".repeat(70_000))]),
            set(many.clone()),
            respond(100, vec![], ""),
            respond(600, vec![], ""),
            respond(70_000, vec![], ""),
            respond(204, vec![], "text"),
            respond(200, vec![header("Transfer-Encoding", "chunked")], ""),
            respond(200, many, ""),
            respond(200, vec![], &"x".repeat(MOST_BODY + 1)),
            redirect(200, "/"),
            redirect(302, ""),
            redirect(302, "/a\r\nSet-Cookie: b"),
            who("", "a"),
            who("ada\r\nx-b: 2", "a"),
            who("ada", "a b"),
        ] {
            assert!(try_out(Some(said.clone())).is_err(), "{said:?}");
        }
        assert!(try_out(None).is_err());
        let by_another = outcome(OnRequestResponse { outcome: Some(who("ada", "a")) }, false);
        assert!(matches!(by_another, Err(OutcomeError::Phase)));
        let said = try_out(Some(who("ada", "a")));
        assert!(matches!(said, Ok(Outcome::Continue(_, Some(caller), _)) if caller.subject == "ada"));
        for said in [set(vec![header("X-A", "ä")]), respond(204, vec![], ""), redirect(0, "https://a/b?c")] {
            assert!(try_out(Some(said.clone())).is_ok(), "{said:?}");
        }
    }
}
