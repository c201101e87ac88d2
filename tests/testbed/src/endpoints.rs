//! Endpoints that show what reached the plugin, and answer in every way that HTTP knows.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use forward_sdk::{
    Problem, Routes,
    axum::{
        Json,
        body::{Body, Bytes},
        extract::{Path, Query, State, WebSocketUpgrade, ws},
        http::{HeaderMap, Method, StatusCode, Uri, Version, header},
        response::{
            IntoResponse, Response,
            sse::{Event, Sse},
        },
    },
};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{collector, testbed::Testbed};

type Plugin = State<Arc<Testbed>>;

/// What the plugin is and what reached it.
#[derive(Serialize)]
struct Seen {
    name: String,
    namespace: String,
    version: String,
    host: Option<String>,
    note: Option<String>,
    reloads: u32,
    method: String,
    uri: String,
    protocol: String,
    headers: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

#[derive(Deserialize)]
struct Beat {
    /// How many events.
    n: u64,
    /// Milliseconds between two of them.
    #[serde(default)]
    interval: u64,
}

#[derive(Deserialize)]
struct Attempt {
    /// Where to write.
    path: PathBuf,
}

/// What came of an attempt.
#[derive(Serialize)]
struct Outcome {
    written: bool,
    /// What the system says against it.
    error: Option<String>,
}

#[derive(Deserialize)]
struct Ailment {
    unhealthy: Option<String>,
    /// After so many seconds it is over by itself.
    seconds: Option<u64>,
}

/// The endpoints below `prefix`. `/` is for plugins that ask this one directly.
pub fn routes(prefix: &str) -> Routes<Testbed> {
    let at = |path: &str| format!("{}{path}", prefix.trim_end_matches('/'));
    let routes = Routes::new().get("/", seen).internal();
    let routes = if prefix.trim_end_matches('/').is_empty() { routes } else { routes.get(&at("/"), seen) };
    routes
        .any(&at("/request"), seen)
        .any(&at("/rest/*rest"), seen)
        .post(&at("/echo"), echo)
        .get(&at("/slow"), slow)
        .get(&at("/sse"), events)
        .get(&at("/ws"), socket)
        .get(&at("/status/:code"), status)
        .get(&at("/panic"), panic)
        .post(&at("/write"), write)
        .post(&at("/health"), health)
        .post(&at("/alerts"), alerted)
        .get(&at("/hooks"), calls)
        .post("/hooks", called)
        .internal()
        .get(&at("/spans"), collector::spans)
        .post(collector::PATH, collector::export)
        .internal()
        .get(&at("/call/:dependency"), call)
}

async fn seen(
    State(testbed): Plugin,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
) -> Json<Seen> {
    let mut by_name = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        by_name.entry(name.to_string()).or_default().push(value);
    }
    Json(Seen {
        name: testbed.context.name().to_owned(),
        namespace: testbed.context.namespace().to_owned(),
        version: testbed.context.version().to_owned(),
        host: std::env::var("HOSTNAME").ok(),
        note: testbed.note(),
        reloads: testbed.reloads(),
        method: method.to_string(),
        uri: uri.to_string(),
        protocol: format!("{version:?}"),
        headers: by_name,
    })
}

/// Streams the body back as it comes.
async fn echo(headers: HeaderMap, body: Body) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let mut response = body.into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> String {
    sleep(Duration::from_millis(ms)).await;
    format!("after {ms} ms\n")
}

async fn events(
    Query(Beat { n, interval }): Query<Beat>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let begin = Instant::now();
    Sse::new(stream::iter(0..n).then(move |number| async move {
        sleep_until(begin + Duration::from_millis(interval.saturating_mul(number))).await;
        Ok(Event::default().id(number.to_string()).data(format!("event {number}")))
    }))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            let echo = matches!(message, ws::Message::Text(_) | ws::Message::Binary(_));
            if echo && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

async fn status(Path(code): Path<u16>) -> Result<StatusCode, Problem> {
    StatusCode::from_u16(code).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "there is no such status"))
}

async fn panic() {
    panic!("asked to panic");
}

/// Tries to write a file, and says what came of it.
async fn write(Query(Attempt { path }): Query<Attempt>) -> Json<Outcome> {
    let error = std::fs::write(&path, "written\n").err();
    Json(Outcome { written: error.is_none(), error: error.map(|error| error.to_string()) })
}

async fn health(State(testbed): Plugin, Json(ailment): Json<Ailment>) -> StatusCode {
    testbed.set_unhealthy(ailment.unhealthy);
    if let Some(seconds) = ailment.seconds {
        tokio::spawn(async move {
            sleep(Duration::from_secs(seconds)).await;
            testbed.set_unhealthy(None);
        });
    }
    StatusCode::NO_CONTENT
}

/// Keeps which alerts of which plugins have come by a webhook, and their status.
async fn alerted(State(testbed): Plugin, Json(message): Json<Value>) -> StatusCode {
    for alert in message["alerts"].as_array().map_or(&[][..], Vec::as_slice) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (labels, status) = (&alert["labels"], word(&alert["status"]));
        testbed.called(format!("{} {} {status}", word(&labels["plugin"]), word(&labels["alertname"])));
    }
    StatusCode::NO_CONTENT
}

/// Keeps which hook of which plugin has called.
async fn called(State(testbed): Plugin, body: Bytes) -> Result<StatusCode, Problem> {
    let event: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let word = |field: &str| event["data"][field].as_str().unwrap_or_default().to_owned();
    testbed.called(format!("{} {}", word("plugin"), word("hook")));
    Ok(StatusCode::NO_CONTENT)
}

async fn calls(State(testbed): Plugin) -> Json<Vec<String>> {
    Json(testbed.calls())
}

async fn call(State(testbed): Plugin, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let dependency = testbed.context.dependency(&name)?;
    Ok(Json(dependency.get("/").await?))
}
