//! The CORS protocol (Fetch Standard): what a browser asks before a page of another origin may ask,
//! and what it is told with the answer.

use forward_plan::middleware::{Cors, Origins};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
    request,
};

use super::{body::Answer, problem::Problem};

const ANY: HeaderValue = HeaderValue::from_static("*");
/// What the answer to a browser's question depends on.
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
/// What the plugin may have said itself.
const ANSWERS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// The one origin that a request names. One that names several comes from no browser.
pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let first = origins.next();
    first.filter(|_| origins.next().is_none())
}

/// The method that a browser asks about, where this is a browser's question.
pub fn asked_method(head: &request::Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// The answer to a browser's question; `None` where there is none to answer.
pub fn preflight(cors: &Cors, head: &request::Parts) -> Option<Result<Response<Answer>, Problem>> {
    let method = asked_method(head)?;
    let Some(origin) = origin(&head.headers).filter(|origin| cors.admits(origin)) else {
        return Some(Err(Problem::Forbidden("pages of this origin may not ask")));
    };
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(cors, origin, headers);
    let asked = || HeaderValue::from_str(method.as_str()).ok();
    if let Some(methods) = cors.methods.clone().or_else(asked) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if let Some(names) = &cors.headers {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if let Some(age) = &cors.max_age {
        headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
    }
    headers.insert(VARY, PREFLIGHT_VARY);
    Some(Ok(response))
}

/// Tell the browser, with the answer to a request of this origin, whether the page may read it.
pub fn tell(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    for name in ANSWERS {
        headers.remove(name);
    }
    if let Origins::These(_) = cors.origins {
        // Caches must not give one origin's answer to another, nor to who named none.
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin.filter(|origin| cors.admits(origin)) {
        allow(cors, origin, headers);
        if let Some(names) = &cors.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
}

fn allow(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    let allowed = match cors.origins {
        Origins::Any => ANY,
        Origins::These(_) => origin.clone(),
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
