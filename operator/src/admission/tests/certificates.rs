use std::collections::BTreeMap;

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::{
    ByteString,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Client, client::Body};

use super::*;
use crate::admission::{
    Keeper,
    certificate::{self, Data},
    step::{AUTHORITY, SERVING, SETTLED},
};

const HOST: &str = "webhook.forward-system.svc";

/// An API server with a Secret and, mostly, a webhook configuration.
#[derive(Default)]
struct Api {
    data: Data,
    bundle: Option<String>,
    writes: Vec<&'static str>,
}

/// A keeper, and what its API server holds.
fn keeper(bundle: Option<&str>) -> (Keeper, Arc<Mutex<Api>>) {
    let api = Arc::new(Mutex::new(Api { bundle: bundle.map(str::to_owned), ..Api::default() }));
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let state = api.clone();
    tokio::spawn(async move {
        while let Some((request, send)) = server.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let (status, body) = answer(&mut state.lock().unwrap(), &parts.method, parts.uri.path(), &body);
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            send.send_response(Response::builder().status(status).body(body).unwrap());
        }
    });
    (Keeper::new(&Client::new(service, "forward-system"), "forward-system", "webhook"), api)
}

fn answer(api: &mut Api, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_secret = path.ends_with("/namespaces/forward-system/secrets/webhook");
    assert!(is_secret || path.ends_with("/validatingwebhookconfigurations/webhook.goforward.dev"), "{path}");
    if *method == Method::PATCH && is_secret {
        assert_eq!(body["metadata"]["resourceVersion"], "7", "it must not overwrite what it has not seen");
        api.data = serde_json::from_value(body["data"].clone()).unwrap();
        api.writes.push("secret");
    } else if *method == Method::PATCH {
        let client = &body["webhooks"][0]["clientConfig"];
        assert_eq!(client.as_object().unwrap().len(), 1, "the rest is the chart's: {client}");
        let bundle: ByteString = serde_json::from_value(client["caBundle"].clone()).unwrap();
        api.bundle = Some(String::from_utf8(bundle.0).unwrap());
        api.writes.push("bundle");
    }
    match (&api.bundle, is_secret) {
        (_, true) => {
            let metadata = json!({"name": "webhook", "resourceVersion": "7"});
            (StatusCode::OK, json!({"metadata": metadata, "data": api.data}))
        }
        (Some(bundle), _) => {
            let bundle = ByteString(bundle.clone().into_bytes());
            let webhook = json!({"name": "plugins.goforward.dev", "clientConfig": {"caBundle": bundle},
                                 "admissionReviewVersions": ["v1"], "sideEffects": "None"});
            (StatusCode::OK, json!({"metadata": {"name": "webhook.goforward.dev"}, "webhooks": [webhook]}))
        }
        (None, _) => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                                "reason": "NotFound", "message": "no"});
            (StatusCode::NOT_FOUND, status)
        }
    }
}

/// Step on until nothing is to be done; the answer is what was written, and until when to wait.
async fn settle(keeper: &Keeper, api: &Mutex<Api>, now: Timestamp) -> (Vec<&'static str>, Timestamp) {
    for _ in 0..10 {
        if let Some(until) = keeper.advance(now).await.unwrap() {
            return (std::mem::take(&mut api.lock().unwrap().writes), until);
        }
    }
    panic!("it does not come to rest: {:?}", api.lock().unwrap().writes);
}

fn is_trusted(api: &Mutex<Api>) -> bool {
    let api = api.lock().unwrap();
    let held = certificate::held(&api.data);
    let serving = held.serving.unwrap();
    let bundle =
        BTreeMap::from([("ca.crt".to_owned(), ByteString(api.bundle.clone().unwrap().into_bytes()))]);
    serving.names == [HOST]
        && certificate::held(&bundle).authorities.iter().any(|known| known.subject == serving.issuer)
}

#[tokio::test]
async fn a_year_passes_without_a_moment_in_which_what_is_served_is_not_trusted() {
    let (keeper, api) = keeper(Some(""));
    let mut now = Timestamp::from_second(1_800_000_000).unwrap();
    let end = now + AUTHORITY * 2;
    assert_eq!(settle(&keeper, &api, now).await.0, ["secret", "bundle", "secret"]);
    let mut writes = 0;
    while now < end {
        let (wrote, until) = settle(&keeper, &api, now).await;
        writes += wrote.len();
        assert!(is_trusted(&api), "at {now}");
        assert!(until > now && until <= now + SERVING, "waits from {now} until {until}");
        now = until;
    }
    // A certificate each 20 days; three authorities in two years, and as many lists of them.
    assert!((38..60).contains(&writes), "{writes} writes");
}

#[tokio::test]
async fn a_new_authority_is_published_before_it_signs() {
    let (keeper, api) = keeper(Some(""));
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    settle(&keeper, &api, begin).await;
    // As if the operator had been away: the certificate is fresh when the authority is to be renewed.
    let renewal = begin + AUTHORITY * 2 / 3;
    let fresh = certificate::with_certificate(&api.lock().unwrap().data, HOST, renewal).unwrap();
    let before = fresh["tls.crt"].clone();
    api.lock().unwrap().data = fresh;
    let (wrote, until) = settle(&keeper, &api, renewal).await;
    assert_eq!(wrote, ["secret", "bundle"]);
    assert_eq!(api.lock().unwrap().data["tls.crt"], before, "the old certificate is served on");
    assert!(is_trusted(&api) && until < renewal + SETTLED);
    assert_eq!(api.lock().unwrap().bundle.as_ref().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(settle(&keeper, &api, until).await.0, ["secret"]);
    assert!(is_trusted(&api));
}

#[tokio::test]
async fn what_is_unreadable_is_made_anew() {
    let (keeper, api) = keeper(Some(""));
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    settle(&keeper, &api, now).await;
    for key in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        api.lock().unwrap().data.insert(key.to_owned(), ByteString(b"nonsense".to_vec()));
        let later = now + SignedDuration::from_hours(1);
        assert!(!settle(&keeper, &api, later).await.0.is_empty(), "{key}");
        assert!(is_trusted(&api), "{key}");
        assert!(certificate::load(&api.lock().unwrap().data).unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn without_a_configuration_none_is_made() {
    let (keeper, api) = keeper(None);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    assert_eq!(settle(&keeper, &api, now).await.0, ["secret", "secret"]);
    assert_eq!(api.lock().unwrap().bundle, None);
}
