//! The one table from what goes wrong to what the client is told: `application/problem+json`
//! (RFC 9457). What went wrong in detail is for the log; an unknown error tells nothing.

use bytes::Bytes;
use forward_plan::{middleware::Violation, routes::Method};
use http::{
    HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use super::{body::Answer, stats::UpstreamError};

/// Why the gateway answers itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// The request can be read in two ways, or is not HTTP.
    BadRequest(&'static str),
    /// The request asks for what the gateway does not do.
    NotImplemented(&'static str),
    /// Nobody has claimed the path.
    NotFound,
    /// Somebody has claimed the path, but not the method.
    MethodNotAllowed(Vec<Method>),
    /// The client stopped sending.
    RequestTimeout,
    /// It is not known who the client is, and what it could show is this.
    Unauthorized { reason: String, challenges: Vec<HeaderValue> },
    /// The client may not.
    Forbidden(&'static str),
    /// The client is known, and does not have this permission.
    NotPermitted(String),
    /// It cannot be said who the client is.
    CallersUnknown(String),
    /// The request's body has more bytes than this.
    ContentTooLarge(u64),
    /// The request's body is not in a form that can be judged.
    UnsupportedMediaType(&'static str),
    /// The request's body is not the JSON that it says it is.
    NotJson(String),
    /// The request's body is not what a middleware says it must be: all of that, or the first of it.
    Invalid { middleware: String, violations: Vec<Violation> },
    /// Too many bodies are held already.
    NoRoom,
    /// The client has asked too often. It may again after so many seconds.
    TooManyRequests(u64),
    /// A middleware of this name cannot be carried out, and nothing goes past it.
    Middleware(String),
    /// A plugin that is asked for a middleware gave no answer, and nothing goes past it.
    Unanswered { plugin: String, middleware: String },
    /// There is a plugin, but it could not answer. With 503, it may in so many seconds.
    Upstream { plugin: String, error: UpstreamError, seconds: u64 },
}

/// What a client is told, on the answer that tells it: for who says it in another way.
#[derive(Clone, Debug)]
pub struct Detail(pub String);

impl Problem {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::NotPermitted(_) => StatusCode::FORBIDDEN,
            Self::ContentTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotJson(_) => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoom | Self::Middleware(_) | Self::Unanswered { .. } | Self::CallersUnknown(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Upstream { error, .. } => match error {
                UpstreamError::NoEndpoint
                | UpstreamError::Unhealthy
                | UpstreamError::Connect
                | UpstreamError::Overloaded
                | UpstreamError::CircuitOpen => StatusCode::SERVICE_UNAVAILABLE,
                UpstreamError::Broken | UpstreamError::Malformed | UpstreamError::ClientGone => {
                    StatusCode::BAD_GATEWAY
                }
                UpstreamError::Timeout => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// What the client is told.
    pub fn detail(&self) -> String {
        match self {
            Self::BadRequest(reason)
            | Self::NotImplemented(reason)
            | Self::Forbidden(reason)
            | Self::UnsupportedMediaType(reason) => (*reason).to_owned(),
            Self::Unauthorized { reason, .. } | Self::CallersUnknown(reason) => reason.clone(),
            Self::NotPermitted(permission) => format!("the caller does not have the permission {permission}"),
            Self::NotFound => "no plugin has a route for this host and path".to_owned(),
            Self::MethodNotAllowed(allowed) => format!("the path answers to {}", allow(allowed)),
            Self::RequestTimeout => "the request did not arrive in time".to_owned(),
            Self::ContentTooLarge(most) => format!("the body may have at most {most} bytes"),
            Self::NotJson(why) => format!("the body is not valid JSON: {why}"),
            Self::Invalid { middleware, violations } => match &violations[..] {
                [one] => format!("the body is not what {middleware} asks for: {}", told(one)),
                all => format!("the body is not what {middleware} asks for in {} places", all.len()),
            },
            Self::NoRoom => "too many requests with bodies are held; try again in a moment".to_owned(),
            Self::TooManyRequests(seconds) => format!("too many requests; try again in {seconds}s"),
            Self::Middleware(name) => format!("middleware {name} of the route cannot be carried out"),
            Self::Unanswered { plugin, middleware } => {
                format!("plugin {plugin} gave no answer for middleware {middleware} of the route")
            }
            Self::Upstream { plugin, error, .. } => match error {
                UpstreamError::NoEndpoint => format!("plugin {plugin} has no ready pod"),
                UpstreamError::Unhealthy => format!("plugin {plugin} is unhealthy"),
                UpstreamError::Connect => format!("plugin {plugin} cannot be reached"),
                UpstreamError::Broken => format!("plugin {plugin} broke the connection"),
                UpstreamError::Malformed => format!("plugin {plugin} gave an answer that is not valid HTTP"),
                UpstreamError::Timeout => format!("plugin {plugin} did not answer in time"),
                UpstreamError::Overloaded => format!("plugin {plugin} has too many requests under way"),
                UpstreamError::CircuitOpen => format!("all pods of plugin {plugin} have failed lately"),
                UpstreamError::ClientGone => format!("the request to plugin {plugin} was not sent whole"),
            },
        }
    }

    /// The answer for the client.
    pub fn answer(&self, id: Option<&HeaderValue>) -> Response<Answer> {
        let status = self.status();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        match self {
            Self::Upstream { plugin, .. } | Self::Unanswered { plugin, .. } => body["plugin"] = json!(plugin),
            Self::NotPermitted(permission) => body["permission"] = json!(permission),
            Self::Invalid { middleware, violations } => {
                body["middleware"] = json!(middleware);
                body["errors"] = violations.iter().map(error).collect();
            }
            _ => {}
        }
        if let Some(id) = id.and_then(|id| id.to_str().ok()) {
            body["requestId"] = json!(id);
        }
        let mut response = Response::new(Answer::full(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        response.extensions_mut().insert(Detail(self.detail()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::MethodNotAllowed(allowed) => drop(headers.insert(ALLOW, allow_value(allowed))),
            // What comes next on the connection is not to be trusted, or not to be waited for.
            Self::BadRequest(_)
            | Self::NotImplemented(_)
            | Self::RequestTimeout
            | Self::ContentTooLarge(_) => {
                drop(headers.insert(CONNECTION, HeaderValue::from_static("close")));
            }
            Self::Unanswered { .. } | Self::NoRoom => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1")))
            }
            Self::Upstream { seconds, .. } if status == StatusCode::SERVICE_UNAVAILABLE => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from(*seconds)));
            }
            Self::TooManyRequests(seconds) => drop(headers.insert(RETRY_AFTER, HeaderValue::from(*seconds))),
            Self::CallersUnknown(_) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Unauthorized { reason: _, challenges } => {
                for challenge in challenges {
                    headers.append(WWW_AUTHENTICATE, challenge.clone());
                }
            }
            // The one coding that would do (RFC 9110, section 15.5.16).
            Self::UnsupportedMediaType(_) => {
                drop(headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
            }
            Self::NotJson(_)
            | Self::Invalid { .. }
            | Self::NotFound
            | Self::Forbidden(_)
            | Self::NotPermitted(_)
            | Self::Middleware(_)
            | Self::Upstream { .. } => {}
        }
        response
    }
}

fn told(Violation { pointer, rule, .. }: &Violation) -> String {
    format!("{} {rule}", pointer.fragment())
}

/// A mistake as a member of a problem: where it is, what is asked for there, and what is there, as JSON.
fn error(Violation { pointer, rule, value }: &Violation) -> Value {
    let mut error = json!({"pointer": pointer.fragment(), "detail": rule});
    if let Some(value) = value {
        error["value"] = json!(value);
    }
    error
}

/// The answer to OPTIONS where no plugin has claimed that method.
pub fn options(allowed: &[Method]) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, allow_value(allowed));
    response
}

fn allow_value(allowed: &[Method]) -> HeaderValue {
    HeaderValue::from_str(&allow(allowed)).expect("names of methods are a header value")
}

/// Each method once, with those that the gateway adds: HEAD for GET, and OPTIONS.
fn allow(routes: &[Method]) -> String {
    let all = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
    ];
    let allowed = |method: &Method| {
        let implied =
            *method == Method::Options || (*method == Method::Head && routes.contains(&Method::Get));
        implied || routes.contains(method)
    };
    all.iter().filter(|method| allowed(method)).map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_method_once_with_the_implied_ones() {
        assert_eq!(allow(&[Method::Post, Method::Get, Method::Post]), "GET, HEAD, POST, OPTIONS");
        assert_eq!(allow(&[Method::Delete]), "DELETE, OPTIONS");
    }

    #[test]
    fn asks_to_retry_what_may_pass() {
        let problem =
            |error| Problem::Upstream { plugin: "shop/pay".to_owned(), error, seconds: 7 }.answer(None);
        let absent = problem(UpstreamError::NoEndpoint);
        assert_eq!(
            (absent.status().as_u16(), &absent.headers()[RETRY_AFTER]),
            (503, &HeaderValue::from_static("7"))
        );
        assert!(!problem(UpstreamError::Timeout).headers().contains_key(RETRY_AFTER));
    }
}
