//! Errors as HTTP answers: `application/problem+json` (RFC 9457).

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{CallError, UndeclaredDependency};

/// An answer that says what went wrong. Handlers return it as their error:
/// `Err(Problem::new(StatusCode::NOT_FOUND, "no such order"))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// An answer with this status; `detail` is a sentence for whoever asked.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({"status": status.as_u16(), "title": title, "detail": detail}).to_string();
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
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
