//! What the gateway and the kubelet ask.

use std::collections::BTreeMap;

use forward_proto::plugin::v1::{
    DescribeRequest, Header, HealthRequest, OnRequestRequest, OnResponseRequest, Route,
    health_response::Status, middleware_client::MiddlewareClient, on_request_response::Outcome,
    plugin_client::PluginClient,
};
use nix::sys::signal::Signal;
use tonic_health::pb::{
    HealthCheckRequest,
    health_check_response::ServingStatus::{NotServing, Serving},
    health_client::HealthClient,
};

use crate::plugin::Plugin;

#[tokio::test]
async fn describes_itself_and_the_routes_it_announces() {
    let plugin = Plugin::start("describes", r#"{"prefix": "/t"}"#, &[]).await;
    let mut client = PluginClient::new(plugin.channel().await);
    let description = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("describes", "1.0.0"));
    assert_eq!(description.description, env!("CARGO_PKG_DESCRIPTION"));
    let echo = Route { method: "POST".to_owned(), path: "/t/echo".to_owned(), ..Route::default() };
    assert!(description.routes.contains(&echo), "{:?}", description.routes);
    assert!(description.routes.iter().all(|route| route.path.starts_with("/t/")), "{:?}", description.routes);
    assert_eq!(description.config_schema, r#"{"properties":{"exitCode":{"maximum":255}}}"#);
}

#[tokio::test]
async fn is_asked_about_requests_and_answers() {
    let plugin = Plugin::start("marks", r#"{"middleware": "All"}"#, &[]).await;
    let description = PluginClient::new(plugin.channel().await).describe(DescribeRequest {}).await.unwrap();
    assert_eq!(description.into_inner().middleware[0].name, "mark");
    let mut client = MiddlewareClient::new(plugin.channel().await);
    let middleware = || "mark".to_owned();
    let mark = |name: &str| Header { name: name.to_owned(), value: b"marks".to_vec() };
    let question = OnRequestRequest { middleware: middleware(), ..OnRequestRequest::default() };
    let Some(Outcome::Continue(on)) = client.on_request(question).await.unwrap().into_inner().outcome else {
        panic!("it does not go on");
    };
    assert_eq!(on.headers.unwrap().set, [mark("x-marked-by")]);
    let headers = vec![Header { name: "x-refuse".to_owned(), value: b"no".to_vec() }];
    let question = OnRequestRequest { middleware: middleware(), headers, ..OnRequestRequest::default() };
    let Some(Outcome::Respond(respond)) = client.on_request(question).await.unwrap().into_inner().outcome
    else {
        panic!("it goes on");
    };
    assert_eq!((respond.status, respond.body.as_slice()), (403, &b"no"[..]));
    let question = OnResponseRequest { middleware: middleware(), ..OnResponseRequest::default() };
    let changes = client.on_response(question).await.unwrap().into_inner().headers.unwrap();
    assert_eq!(changes.set, [mark("x-answer-marked-by")]);
    let question = OnRequestRequest { middleware: "other".to_owned(), ..OnRequestRequest::default() };
    assert_eq!(client.on_request(question).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn health_is_the_plugins_own_word_with_details() {
    let plugin = Plugin::start("health", r#"{"prefix": "/t", "unhealthy": "no database"}"#, &[]).await;
    let mut client = PluginClient::new(plugin.channel().await);
    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((health.status(), health.message.as_str()), (Status::Unhealthy, "no database"));
    let (process, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        health.details.into_iter().partition(|(name, _)| name.starts_with("process."));
    assert_eq!(own, BTreeMap::from([("memory".to_owned(), "0".to_owned())]));
    for name in ["memory_bytes", "cpu_seconds", "threads", "started", "requests"] {
        let told = process.get(&format!("process.{name}")).map(|value| value.parse::<f64>().is_ok());
        assert_eq!(told, Some(true), "{name} of {process:?}");
    }
    assert!(health.timestamp.is_some());
    // Unhealthy is the gateway's business: the pod stays ready.
    assert_eq!(plugin.probes().await, [Serving, Serving]);
}

#[tokio::test]
async fn probes_answer_from_the_first_moment() {
    let mut plugin = Plugin::spawn("probes", r#"{"neverReady": true}"#, &[]).await;
    plugin.await_line("initialized").await;
    assert_eq!(plugin.probes().await, [Serving, NotServing]);
    let (status, body) = plugin.get("/testbed/probes/").await;
    assert_eq!((status, body.contains("has not started yet")), (503, true));

    let slow =
        Plugin::spawn("slow-probes", r#"{"initializeDelay": "1h"}"#, &[("GOFORWARD_TIMEOUT", "1h")]).await;
    assert_eq!(slow.probes().await, [NotServing, NotServing]);
    let mut health = HealthClient::new(slow.channel().await);
    let liveness = health.check(HealthCheckRequest { service: "liveness".to_owned() }).await;
    assert_eq!(liveness.unwrap().into_inner().status(), Serving);
    let unknown = health.check(HealthCheckRequest { service: "other".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
    let mut client = PluginClient::new(slow.channel().await);
    assert_eq!(client.describe(DescribeRequest {}).await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(client.health(HealthRequest {}).await.unwrap().into_inner().status(), Status::Unhealthy);
    slow.signal(Signal::SIGTERM);
    assert_eq!(slow.ended().await.0, Some(0));
}
