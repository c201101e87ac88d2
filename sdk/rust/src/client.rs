//! A dependency's base URL and the client for it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::TraceContext;

/// How long a call may take when its dependency was not told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connections that are idle for this long are not used again. It is less than half of the time
/// that a plugin drains, in the second half of which it closes the connections it is asked over: so
/// none is used at the moment in which the other side closes it.
const IDLE: Duration = Duration::from_secs(2);

/// How much of an unexpected answer an error shows, in characters.
const EXCERPT: usize = 200;

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A plugin that this one depends on: its base URL, and a client for it that speaks JSON.
#[derive(Clone, Debug)]
pub struct Dependency {
    name: String,
    url: String,
    client: HttpClient,
    timeout: Duration,
}

/// A call that was not answered as it should be.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url} of \"{dependency}\": {kind}")]
pub struct CallError {
    dependency: String,
    method: Method,
    url: String,
    kind: Kind,
    source: Option<crate::Error>,
}

#[derive(Debug)]
enum Kind {
    InvalidRequest,
    Unreachable,
    TimedOut(Duration),
    BrokenOff,
    Status { status: StatusCode, excerpt: String },
    NotTheExpectedJson,
}

pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector)
}

impl Dependency {
    pub(crate) fn new(name: &str, url: &str, client: HttpClient) -> Self {
        Self { name: name.to_owned(), url: url.to_owned(), client, timeout: TIMEOUT }
    }

    /// The dependency's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers, without a slash at the end, for example `http://inventory-manager.shop.svc`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same with another time that a call may take; it is 10 s at first.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// GETs JSON from a path, for example `/stock/7?fresh=1`.
    ///
    /// # Errors
    /// When there is no answer in time, its status is not 2xx, or it is not the JSON that `T` reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let request = Request::get(self.absolute(path)).body(Full::default());
        self.call(Method::GET, path, request).await
    }

    /// POSTs JSON to a path and reads the JSON of the answer.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), and a `body` that cannot be written as JSON.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| self.error(Method::POST, path, Kind::InvalidRequest, Some(error.into())))?;
        let request = Request::post(self.absolute(path))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::from(body));
        self.call(Method::POST, path, request).await
    }

    /// Sends any request, whose URI must be absolute (see [`url`](Self::url)), and reads the whole
    /// answer, whatever its status.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        self.exchange(method, &path, request.map(Full::new)).await
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<T, CallError> {
        let request = request
            .map_err(|error| self.error(method.clone(), path, Kind::InvalidRequest, Some(error.into())))?;
        let response = self.exchange(method.clone(), path, request).await?;
        if !response.status().is_success() {
            let excerpt = String::from_utf8_lossy(response.body()).chars().take(EXCERPT).collect();
            let status = response.status();
            return Err(self.error(method, path, Kind::Status { status, excerpt }, None));
        }
        serde_json::from_slice(response.body())
            .map_err(|error| self.error(method, path, Kind::NotTheExpectedJson, Some(error.into())))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, CallError> {
        if let Some(trace) = TraceContext::current() {
            trace.carry_on(request.headers_mut());
        }
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| (Kind::Unreachable, error.into()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| (Kind::BrokenOff, error))?.to_bytes();
            Ok::<_, (Kind, crate::Error)>(Response::from_parts(head, body))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err((kind, source))) => Err(self.error(method, path, kind, Some(source))),
            Err(_) => Err(self.error(method, path, Kind::TimedOut(self.timeout), None)),
        }
    }

    fn error(&self, method: Method, path: &str, kind: Kind, source: Option<crate::Error>) -> CallError {
        CallError { dependency: self.name.clone(), method, url: self.absolute(path), kind, source }
    }
}

impl CallError {
    /// The name of the plugin that was asked.
    pub fn dependency(&self) -> &str {
        &self.dependency
    }

    /// The status of the answer, when there was one that is not 2xx.
    pub fn status(&self) -> Option<StatusCode> {
        match self.kind {
            Kind::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether there was no answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::TimedOut(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequest => f.write_str("the request cannot be made"),
            Self::Unreachable => f.write_str("it cannot be reached"),
            Self::TimedOut(limit) => {
                write!(f, "it did not answer within {}", crate::duration::display(*limit))
            }
            Self::BrokenOff => f.write_str("the answer broke off or is too large"),
            Self::Status { status, excerpt } if excerpt.is_empty() => write!(f, "it answered {status}"),
            Self::Status { status, excerpt } => write!(f, "it answered {status}: {excerpt}"),
            Self::NotTheExpectedJson => f.write_str("the answer is not the JSON that was expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing};
    use serde_json::{Value, json};

    use super::*;

    async fn dependency() -> Dependency {
        let router = Router::new()
            .route("/stock", routing::get(async || Json(json!({"left": 3}))))
            .route("/orders", routing::post(async |Json(order): Json<Value>| Json(json!({"got": order}))))
            .route("/slow", routing::get(std::future::pending::<()>));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Dependency::new("inventory", &url, http_client())
    }

    #[tokio::test]
    async fn gets_and_posts_json() {
        let inventory = dependency().await;
        assert_eq!(inventory.get::<Value>("/stock").await.unwrap(), json!({"left": 3}));
        let answer: Value = inventory.post("/orders", &json!([1, 2])).await.unwrap();
        assert_eq!(answer, json!({"got": [1, 2]}));
    }

    #[tokio::test]
    async fn calls_belong_to_the_trace_of_the_request_that_is_answered() {
        let echo = async |headers: http::HeaderMap| headers["traceparent"].to_str().unwrap().to_owned();
        let router = Router::new().route("/", routing::get(async move |headers| Json(echo(headers).await)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        let other = Dependency::new("other", &url, http_client());
        let mut headers = http::HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-a-b-01"));
        let trace = TraceContext::of(&headers).unwrap();
        let seen = trace.scope(async { other.get::<String>("/").await.unwrap() }).await;
        assert_eq!(seen, "00-a-b-01");
    }

    #[tokio::test]
    async fn errors_say_who_did_not_answer_what() {
        let inventory = dependency().await;
        let url = inventory.url().to_owned();
        let absent = inventory.get::<Value>("/absent").await.unwrap_err();
        assert_eq!(absent.status(), Some(StatusCode::NOT_FOUND));
        assert_eq!(
            absent.to_string(),
            format!("GET {url}/absent of \"inventory\": it answered 404 Not Found")
        );
        let wrong = inventory.get::<Vec<u8>>("/stock").await.unwrap_err();
        assert!(wrong.to_string().ends_with("the answer is not the JSON that was expected"), "{wrong}");
        let limit = Duration::from_millis(50);
        let slow = inventory.clone().with_timeout(limit).get::<Value>("/slow").await.unwrap_err();
        assert!(slow.is_timeout());
        assert!(slow.to_string().ends_with("it did not answer within 50ms"), "{slow}");
        let nobody = Dependency::new("nobody", "http://127.0.0.1:1", http_client());
        let error = nobody.get::<Value>("/").await.unwrap_err();
        assert!(error.to_string().ends_with("\"nobody\": it cannot be reached"), "{error}");
    }
}
