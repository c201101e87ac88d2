//! Reviews of all kinds, whatever is sent, the port under rotation, and the certificates' keeper.

mod certificates;
mod confirmation;
mod following;
mod fuzz;
mod reviews;
mod rotation;

use std::sync::{Arc, Mutex};

use forward_plan::Overrides;
use http::{Request, Response, StatusCode};
use kube::{
    Client,
    client::Body,
    core::{DynamicObject, admission::AdmissionReview},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Confirmer, Reviewer,
    review::{self, NoReview},
};
use crate::{index::Index, live::Object, metrics::Metrics, watch::Listed};

/// A plugin of the namespace `shop`.
fn plugin(name: &str, spec: Value) -> Value {
    let mut plugin = json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {"version": "1.0.0", "image": "example/plugin:1"},
    });
    plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    plugin
}

fn needs(name: &str, range: &str) -> Value {
    json!({"dependencies": [{"name": name, "version": range}]})
}

/// Of so many kinds none is listed yet.
fn listed(kinds: usize) -> Listed {
    Listed::new(watch::channel(0).1, kinds)
}

/// One who knows these plugins.
fn reviewer(known: &[Value]) -> Reviewer {
    let mut index = Index::default();
    for plugin in known {
        index.apply(Object::Plugin(Arc::new(serde_json::from_value(plugin.clone()).unwrap())));
    }
    let index = Arc::new(Mutex::new(index));
    Reviewer { index, listed: listed(0), metrics: Arc::new(Metrics::new()) }
}

impl Reviewer {
    /// What is answered where nothing is looked at again.
    fn review(&self, body: &[u8]) -> Result<AdmissionReview<DynamicObject>, NoReview> {
        let (request, response) = review::read(body)?;
        Ok(self.respond(response, self.judge(request)))
    }
}

/// One whose API server has nothing but these plugins, and counts what it is asked.
fn confirmer(there: &[Value]) -> (Confirmer, Arc<Mutex<usize>>) {
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let (there, asked) = (there.to_vec(), Arc::new(Mutex::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Some((request, send)) = server.next_request().await {
            *count.lock().unwrap() += 1;
            let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
            let found = there.iter().find(|plugin| plugin["metadata"]["name"] == name);
            let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                                "reason": "NotFound", "message": "no"});
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let body = Body::from(serde_json::to_vec(found.unwrap_or(&absent)).unwrap());
            send.send_response(Response::builder().status(status).body(body).unwrap());
        }
    });
    (Confirmer { client: Client::new(service, "shop"), changed: Arc::default() }, asked)
}

/// A review as the API server sends it.
fn review(operation: &str, object: Value, old: Value) -> Value {
    let name = if object.is_null() { &old } else { &object }["metadata"]["name"].clone();
    let gvk = json!({"group": "goforward.dev", "version": "v1alpha1", "kind": "Plugin"});
    let gvr = json!({"group": "goforward.dev", "version": "v1alpha1", "resource": "plugins"});
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": gvk, "resource": gvr,
            "requestKind": gvk, "requestResource": gvr, "name": name, "namespace": "shop",
            "operation": operation, "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": object, "oldObject": old, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
