//! JSON bodies: read with everything that is wrong in one answer, and written.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    document,
    problem::{FieldError, Problem},
};

/// A JSON body. As a handler's argument it reads the request's: what is not JSON is answered with
/// 400 (or 415, where the request does not even say so), and what is not a `T` with 422 and every
/// place that is wrong. As a handler's answer it writes the response's.
///
/// ```no_run
/// use forward_sdk::{Json, Problem};
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Order {
///     customer: String,
/// }
///
/// async fn order(Json(order): Json<Order>) -> Result<Json<Order>, Problem> {
///     Ok(Json(order))
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !says_json(request.headers()) {
            let detail = "the body must be JSON, and Content-Type say so: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        read(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads a body that was taken as bytes, as a handler does that has to see the bytes first.
///
/// # Errors
/// The answers that [`Json`] gives.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
    document::deserialize(&value, &[]).map_err(|problems| {
        Problem::invalid(
            problems.iter().map(|one| FieldError::new(one.pointer.fragment(), one.complaint.to_string())),
        )
    })
}

/// Whether the content is `application/json`, or some `application/*+json`.
fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        customer: String,
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item {
        sku: String,
        quantity: u32,
    }

    async fn extract(kind: &str, body: &str) -> Result<Order, Value> {
        let request =
            Request::post("/").header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned())).unwrap();
        match Json::<Order>::from_request(request, &()).await {
            Ok(Json(order)) => Ok(order),
            Err(problem) => {
                let body = problem.into_response().into_body().collect().await.unwrap().to_bytes();
                Err(serde_json::from_slice(&body).unwrap())
            }
        }
    }

    #[tokio::test]
    async fn reads_what_is_as_it_should_be() {
        let order = extract("application/json; charset=utf-8", r#"{"customer": "c", "items": []}"#).await;
        assert_eq!(order, Ok(Order { customer: "c".to_owned(), items: vec![] }));
    }

    #[tokio::test]
    async fn names_every_place_that_is_wrong() {
        let body = r#"{"items": [{"sku": 7, "quantity": 1}, {"sku": "a", "quantity": -1}], "coupon": ""}"#;
        let problem = extract("application/json", body).await.unwrap_err();
        assert_eq!(problem["status"], 422);
        let expected = json!([
            {"pointer": "#/coupon", "detail": "is not a field; the fields are customer, items"},
            {"pointer": "#/customer", "detail": "is missing"},
            {"pointer": "#/items/0/sku", "detail": "expected a string, found a whole number"},
            {"pointer": "#/items/1/quantity", "detail": "expected u32, found another whole number"},
        ]);
        assert_eq!(problem["errors"], expected);
    }

    #[tokio::test]
    async fn tells_what_is_no_json_from_what_does_not_say_so() {
        assert_eq!(extract("application/json", "{").await.unwrap_err()["status"], 400);
        assert_eq!(extract("application/merge-patch+json", "[]").await.unwrap_err()["status"], 422);
        assert_eq!(extract("text/plain", "{}").await.unwrap_err()["status"], 415);
    }
}
