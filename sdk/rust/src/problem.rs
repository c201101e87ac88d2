//! Errors as HTTP answers: `application/problem+json` (RFC 9457).

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{CallError, UndeclaredDependency};

/// An answer that says what went wrong. Handlers return it as their error:
/// `Err(Problem::new(StatusCode::NOT_FOUND, "no such order"))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Content>);

/// Boxed, as it is the error of every handler and would make all their results large.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// What is wrong at one place of a request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The place: a JSON pointer as a URI's fragment, for example `#/items/0/sku`.
    pub pointer: String,
    /// What is wrong there, in words for whoever asked.
    pub detail: String,
}

impl Problem {
    /// An answer with this status; `detail` is a sentence for whoever asked.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let (errors, members, headers) = (Vec::new(), Map::new(), HeaderMap::new());
        Self(Box::new(Content { status, detail, errors, members, headers }))
    }

    /// The answer (422) to a body that can be read and is not what it should be.
    pub fn invalid(errors: impl IntoIterator<Item = FieldError>) -> Self {
        let errors: Vec<_> = errors.into_iter().collect();
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            more => format!("{} things are wrong with the request", more.len()),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.0.errors = errors;
        problem
    }

    /// The same with a short word that programs can tell it by, for example `insufficient_stock`.
    #[must_use]
    pub fn code(self, code: &str) -> Self {
        self.with("code", code)
    }

    /// The same with one more place that is wrong, for example `("#/amount", "must be above 0")`.
    #[must_use]
    pub fn error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.errors.push(FieldError::new(pointer, detail));
        self
    }

    /// The same with one more member of its own. `status`, `title`, `detail` and `errors` stay what
    /// they are.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    /// The same with a header, for example `(header::RETRY_AFTER, HeaderValue::from_static("1"))`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl FieldError {
    /// What is wrong at a place, for example `("#/amount", "must be above 0")`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Content { status, detail, errors, mut members, headers } = *self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        members.insert("status".to_owned(), status.as_u16().into());
        members.insert("title".to_owned(), title.into());
        members.insert("detail".to_owned(), detail.into());
        if !errors.is_empty() {
            members.insert("errors".to_owned(), json!(errors));
        }
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], headers, Value::Object(members).to_string()).into_response()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Problem {}

/// Whoever asked learns which plugin is to blame; where it answers and what it said is for the log.
impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        tracing::warn!(error = crate::failure::chain(&error), "a dependency did not answer as it should");
        let status = if error.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
        Self::new(status, format!("the plugin {:?} did not answer as it should", error.dependency()))
    }
}

impl From<UndeclaredDependency> for Problem {
    fn from(error: UndeclaredDependency) -> Self {
        tracing::error!(error = crate::failure::chain(&error), "a dependency is not declared");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the plugin is not set up to answer this")
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn answered(problem: Problem) -> (HeaderMap, Value) {
        let (head, body) = problem.into_response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn says_all_that_it_was_told() {
        let problem = Problem::new(StatusCode::CONFLICT, "too little is left")
            .code("insufficient_stock")
            .error("#/items/0/quantity", "3 wanted, 2 available")
            .with("status", 200)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"));
        let (headers, body) = answered(problem).await;
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[header::RETRY_AFTER], "1");
        let expected = json!({
            "status": 409,
            "title": "Conflict",
            "detail": "too little is left",
            "code": "insufficient_stock",
            "errors": [{"pointer": "#/items/0/quantity", "detail": "3 wanted, 2 available"}],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn one_field_error_is_the_detail_too() {
        let error = FieldError::new("#/amount", "must be above 0");
        assert_eq!(Problem::invalid([error.clone()]).to_string(), "#/amount: must be above 0");
        assert_eq!(
            Problem::invalid([error.clone(), error]).to_string(),
            "2 things are wrong with the request"
        );
    }
}
