//! An API server that plays a scenario, and the objects that take part in one.

use http::{Method, Request, Response, StatusCode, header};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{client::Body, runtime::events::Reporter};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::*;
use crate::{live::Object, watch::Sink};

/// A call to the API server.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    /// What it is about, from the namespace on; with the name also where it makes that.
    pub path: String,
    /// What the body is; a patch by its kind.
    pub media_type: String,
    pub body: Value,
}

impl Call {
    /// Whether it makes or patches.
    pub fn writes(&self) -> bool {
        [Method::POST, Method::PATCH].contains(&self.method)
    }
}

/// What the API server answers instead of what it should; [`NO_ANSWER`] is nothing at all.
pub type Trouble = fn(&Call) -> Option<StatusCode>;

pub const NO_TROUBLE: Trouble = |_| None;
pub const NO_ANSWER: StatusCode = StatusCode::REQUEST_TIMEOUT;

pub struct Run {
    pub result: Result<Option<Duration>, Error>,
    /// Those that are not about events.
    pub calls: Vec<Call>,
    /// The reasons of the events.
    pub events: Vec<String>,
    pub metrics: Arc<Metrics>,
}

impl Run {
    /// Method and path of every call.
    pub fn lines(&self) -> Vec<String> {
        self.calls.iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }

    /// What was made or patched.
    pub fn written(&self, path: &str) -> &Value {
        let found = self.calls.iter().find(|call| call.writes() && call.path == path);
        &found.unwrap_or_else(|| panic!("no write of {path} in {:?}", self.lines())).body
    }

    pub fn body(&self, method: Method, path: &str) -> &Value {
        let found = self.calls.iter().find(|call| call.method == method && call.path == path);
        &found.unwrap_or_else(|| panic!("no {method} {path} in {:?}", self.lines())).body
    }

    /// Status and reason of a condition in the status that was written.
    pub fn condition(&self, type_: &str) -> (&str, &str) {
        let conditions = self.body(Method::PATCH, "plugins/hello/status")["status"]["conditions"].as_array();
        let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == type_)).unwrap();
        (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    }
}

/// Reconcile the plugin `hello` when `objects` are there.
pub async fn reconcile_with(objects: Vec<Object>, trouble: Trouble) -> Run {
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "shop");
    let mut index = Index::default();
    for object in objects {
        index.apply(object);
    }
    let plugin = ("shop".into(), "hello".into());
    let reporter = Reporter { controller: "forward-operator".to_owned(), instance: None };
    let metrics = Arc::new(Metrics::new());
    let sink = Sink { index: Arc::new(Mutex::new(index)), ..Sink::default() };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        calls: Arc::new(Calls::new(client.clone(), sink.clone())),
        client,
        index: sink.index,
        peers: build::peers(),
        metrics: metrics.clone(),
        tally: Tally::default(),
        retries: Mutex::default(),
        pace: Mutex::default(),
    });
    let serve = tokio::spawn(async move {
        let (mut calls, mut events, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((request, send)) = server.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let mut path = parts.uri.path().rsplit_once("namespaces/shop/").unwrap().1.to_owned();
            if parts.method == Method::POST && path != "events" {
                path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
            }
            let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
            let media_type = media_type.unwrap_or_default().to_owned();
            let call = Call { method: parts.method, path, media_type, body };
            match trouble(&call) {
                Some(NO_ANSWER) => unanswered.push(send),
                trouble => {
                    let (status, body) = answer(&call, trouble);
                    let body = Body::from(serde_json::to_vec(&body).unwrap());
                    send.send_response(Response::builder().status(status).body(body).unwrap());
                }
            }
            match call.path.starts_with("events") {
                true => events.push(call.body["reason"].as_str().unwrap().to_owned()),
                false => calls.push(call),
            }
        }
        (calls, events)
    });
    let result = reconcile(&plugin, &context).await;
    // The server ends with its last client.
    drop(context);
    let (calls, events) = serve.await.unwrap();
    Run { result, calls, events, metrics }
}

/// What is not there is not found; what is written is as it was sent.
fn answer(call: &Call, trouble: Option<StatusCode>) -> (StatusCode, Value) {
    let refusal = |code: StatusCode| {
        let reason = match code {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
            _ => "Other",
        };
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
               "reason": reason, "message": "no"})
    };
    match trouble {
        Some(code) => (code, refusal(code)),
        None if call.method == Method::GET => (StatusCode::NOT_FOUND, refusal(StatusCode::NOT_FOUND)),
        None if call.path.starts_with("plugins/") => (StatusCode::OK, manifest(json!({}), json!({}))),
        None if call.method == Method::DELETE => {
            (StatusCode::OK, json!({"kind": "Status", "status": "Success"}))
        }
        None => (StatusCode::OK, call.body.clone()),
    }
}

pub fn manifest(metadata: Value, spec: Value) -> Value {
    let mut plugin = json!({
        "metadata": {"name": "hello", "namespace": "shop", "uid": "u-1", "generation": 1,
                     "finalizers": [forward_crds::FINALIZER]},
        "spec": {"version": "1.0.0", "image": "hello:1.0.0"},
    });
    for (part, changes) in [("metadata", metadata), ("spec", spec)] {
        plugin[part].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    }
    plugin
}

pub fn read<K: DeserializeOwned + Into<Object>>(value: Value) -> Object {
    serde_json::from_value::<K>(value).unwrap().into()
}

pub fn plugin(metadata: Value, spec: Value) -> Object {
    read::<Plugin>(manifest(metadata, spec))
}

pub fn deleted() -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})
}

/// The objects that a run wrote, as they are there afterwards.
pub fn written(run: &Run) -> Vec<Object> {
    written_with(run, |_, _| {})
}

/// The same, after somebody has changed what is of a kind.
pub fn written_with(run: &Run, change: impl Fn(&str, &mut Value)) -> Vec<Object> {
    let kinds = |call: &Call| -> Option<Object> {
        let (kind, _) = call.path.split_once('/')?;
        let mut body = call.body.clone();
        body["metadata"]["uid"] = "u-2".into();
        change(kind, &mut body);
        Some(match kind {
            "serviceaccounts" => read::<ServiceAccount>(body),
            "configmaps" => read::<ConfigMap>(body),
            "services" => read::<Service>(body),
            "networkpolicies" => read::<NetworkPolicy>(body),
            "poddisruptionbudgets" => read::<PodDisruptionBudget>(body),
            "deployments" => read::<Deployment>(body),
            _ => return None,
        })
    };
    run.calls.iter().filter(|call| call.writes()).filter_map(kinds).collect()
}

/// The Deployment that a run wrote becomes one whose pods are all ready.
pub fn roll_out(run: &Run) -> Vec<Object> {
    let ready = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    written_with(run, |kind, body| {
        if kind == "deployments" {
            body["status"] = ready.clone();
        }
    })
}

pub fn old_config() -> Object {
    let owner = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin", "name": "hello", "uid": "u-1",
                       "controller": true});
    let labels = json!({"goforward.dev/plugin": "hello"});
    let metadata = json!({"name": "hello-config-old", "namespace": "shop", "uid": "u-3", "labels": labels,
                          "ownerReferences": [owner]});
    read::<ConfigMap>(json!({"metadata": metadata}))
}

/// A pod of the plugin.
pub fn pod() -> Object {
    read::<Pod>(pod_manifest())
}

pub fn pod_manifest() -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "hello-1", "uid": "u-4",
                       "controller": true});
    let labels = json!({"goforward.dev/plugin": "hello"});
    let metadata =
        json!({"name": "hello-1-x", "namespace": "shop", "labels": labels, "ownerReferences": [owner]});
    json!({"metadata": metadata})
}
