//! The writer against an API server that plays scenarios.

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::json;
use tower_test::mock::Handle;

use super::*;
use crate::error::Category;

type Server = Handle<Request<Body>, Response<Body>>;

fn plugin() -> Plugin {
    serde_json::from_value(json!({
        "metadata": {"name": "hello", "namespace": "shop", "uid": "u-1"},
        "spec": {"version": "1.0.0", "image": "hello:1.0.0"},
    }))
    .unwrap()
}

fn config_map(owner: &str, value: &str) -> ConfigMap {
    owned_by("Plugin", "hello", owner, value)
}

fn owned_by(kind: &str, name: &str, uid: &str, value: &str) -> ConfigMap {
    let owner = json!({"apiVersion": "any/v1", "kind": kind, "name": name, "uid": uid, "controller": true});
    serde_json::from_value(json!({
        "metadata": {"name": "hello-config", "namespace": "shop", "ownerReferences": [owner]},
        "data": {"config.json": value},
    }))
    .unwrap()
}

/// Apply `desired` over `live`; `script` answers the calls, and no more calls may come.
async fn apply_against<F: Future<Output = Server>>(
    live: Option<ConfigMap>,
    script: impl FnOnce(Server) -> F,
) -> Result<bool, Error> {
    let (service, server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let (client, plugin, metrics) = (Client::new(service, "shop"), plugin(), Metrics::new());
    let writer = Writer { client: &client, metrics: &metrics, plugin: &plugin };
    let (desired, live) = (config_map("u-1", "{}"), live.map(|live| Arc::new(Kept::new(live))));
    let (result, mut server) = tokio::join!(writer.apply(&desired, live.as_ref()), script(server));
    drop(client);
    assert!(server.next_request().await.is_none(), "one call too many");
    result
}

async fn answer(server: &mut Server, method: Method, status: StatusCode, body: serde_json::Value) {
    let call = tokio::time::timeout(TIMEOUT, server.next_request()).await.expect("a call in time");
    let (request, send) = call.expect("a call");
    assert_eq!(request.method(), method, "{}", request.uri());
    if method == Method::PATCH {
        let query = request.uri().query().unwrap_or_default();
        assert!(query.contains("force=true") && query.contains("fieldManager=forward-operator"), "{query}");
    }
    let body = Body::from(serde_json::to_vec(&body).unwrap());
    send.send_response(Response::builder().status(status).body(body).unwrap());
}

fn refusal(code: u16, reason: &str) -> serde_json::Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

#[tokio::test]
async fn makes_no_call_when_nothing_differs() {
    let written = apply_against(Some(config_map("u-1", "{}")), async |server| server).await;
    assert!(!written.unwrap());
}

#[tokio::test]
async fn writes_a_difference_in_one_call() {
    let written = apply_against(Some(config_map("u-1", "other")), async |mut server| {
        answer(&mut server, Method::PATCH, StatusCode::OK, json!(config_map("u-1", "{}"))).await;
        server
    });
    assert!(written.await.unwrap());
}

#[tokio::test]
async fn makes_a_new_object_in_one_call() {
    let written = apply_against(None, async |mut server| {
        answer(&mut server, Method::POST, StatusCode::CREATED, json!(config_map("u-1", "{}"))).await;
        server
    });
    assert!(written.await.unwrap());
}

/// The metadata of an object that is there, as it is read alone.
fn metadata(object: &ConfigMap) -> serde_json::Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.metadata})
}

fn created(object: ConfigMap) -> ConfigMap {
    let mut object = json!(object);
    object["metadata"]["managedFields"] =
        json!([{"manager": "forward-operator", "operation": "Update", "apiVersion": "v1"}]);
    object["metadata"]["resourceVersion"] = json!("7");
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn waits_for_the_event_of_what_it_has_just_made_unless_none_can_come() {
    for (labels, is_written) in [
        (json!({"goforward.dev/plugin": "hello"}), false),
        (json!({"goforward.dev/plugin": "another"}), true),
        (json!({}), true),
    ] {
        let mut found = metadata(&config_map("u-1", "{}"));
        found["metadata"]["labels"] = labels;
        let written = apply_against(None, async |mut server| {
            answer(&mut server, Method::POST, StatusCode::CONFLICT, refusal(409, "AlreadyExists")).await;
            answer(&mut server, Method::GET, StatusCode::OK, found).await;
            if is_written {
                // Nothing is held as by a creation.
                let made = json!(config_map("u-1", "{}"));
                answer(&mut server, Method::PATCH, StatusCode::OK, made).await;
            }
            server
        });
        assert_eq!(written.await.unwrap(), is_written);
    }
}

#[tokio::test]
async fn has_what_it_created_held_by_apply_before_the_first_apply() {
    let live = created(config_map("u-1", "other"));
    let written = apply_against(Some(live.clone()), async |mut server| {
        answer(&mut server, Method::GET, StatusCode::OK, metadata(&live)).await;
        let (request, send) = server.next_request().await.expect("a call");
        assert_eq!(request.method(), Method::PATCH);
        let body: serde_json::Value =
            serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        let held = json!([{"manager": "forward-operator", "operation": "Apply", "apiVersion": "v1"}]);
        assert_eq!(body["metadata"]["managedFields"], held);
        assert_eq!(body["metadata"]["resourceVersion"], "7", "nobody else's change is lost");
        send.send_response(Response::new(Body::from(serde_json::to_vec(&metadata(&live)).unwrap())));
        answer(&mut server, Method::PATCH, StatusCode::OK, json!(config_map("u-1", "{}"))).await;
        server
    });
    assert!(written.await.unwrap());
    let same = apply_against(Some(created(config_map("u-1", "{}"))), async |server| server);
    assert!(!same.await.unwrap());
}

#[tokio::test]
async fn leaves_the_object_of_somebody_else_alone() {
    let found = owned_by("Plugin", "another", "u-2", "{}");
    let result = apply_against(None, async |mut server| {
        answer(&mut server, Method::POST, StatusCode::CONFLICT, refusal(409, "AlreadyExists")).await;
        answer(&mut server, Method::GET, StatusCode::OK, metadata(&found)).await;
        server
    });
    let error = result.await.unwrap_err();
    assert!(matches!(error, Error::ForeignObject { kind: "ConfigMap", .. }), "{error}");
    let error = apply_against(Some(found), async |server| server).await.unwrap_err();
    assert_eq!(error.category(), Category::Invalid);
}

#[tokio::test]
async fn tries_again_where_what_was_in_the_way_is_gone() {
    let result = apply_against(None, async |mut server| {
        answer(&mut server, Method::POST, StatusCode::CONFLICT, refusal(409, "AlreadyExists")).await;
        answer(&mut server, Method::GET, StatusCode::NOT_FOUND, refusal(404, "NotFound")).await;
        server
    });
    assert_eq!(result.await.unwrap_err().category(), Category::Transient);
}

#[tokio::test]
async fn waits_for_the_objects_of_a_deleted_plugin_of_the_same_name() {
    let error = apply_against(Some(config_map("u-0", "{}")), async |server| server).await.unwrap_err();
    assert!(matches!(error, Error::LeftBehind { .. }), "{error}");
    assert_eq!(error.category(), Category::Conflict);
}

#[tokio::test]
async fn tells_apart_what_is_worth_another_try() {
    for (status, reason, category) in [
        (409, "Conflict", Category::Conflict),
        (422, "Invalid", Category::Invalid),
        (500, "InternalError", Category::Transient),
    ] {
        let result = apply_against(Some(config_map("u-1", "other")), async |mut server| {
            let code = StatusCode::from_u16(status).unwrap();
            answer(&mut server, Method::PATCH, code, refusal(status, reason)).await;
            server
        });
        assert_eq!(result.await.unwrap_err().category(), category, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn gives_up_on_a_server_that_does_not_answer() {
    let result = apply_against(Some(config_map("u-1", "other")), async |mut server| {
        let call = server.next_request().await.expect("a call");
        tokio::time::sleep(TIMEOUT * 2).await;
        drop(call);
        server
    });
    let error = result.await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(error.category(), Category::Transient);
}
