//! Hooks against an API server that plays scenarios, and a Service that does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use forward_crds::{Plugin, PluginState};
use forward_plan::{HookRun, hook_runs};
use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

use super::{
    places::{AT_ONCE, OF_A_NAMESPACE},
    *,
};
use crate::{
    build,
    index::{Index, Snapshot, lock},
    live::Object,
    metrics::Metrics,
    watch::Sink,
};

/// When the hook became due.
const DUE: &str = "2026-01-01T00:00:00Z";

fn plugin(hook: Value, state: PluginState) -> Plugin {
    let record =
        json!({"hook": "beforeLoad", "revision": revision(&hook), "outcome": "Running", "time": DUE});
    let mut plugin = bare(&hook);
    plugin["status"] = json!({"state": state, "hooks": [record]});
    serde_json::from_value(plugin).unwrap()
}

fn bare(hook: &Value) -> Value {
    json!({"metadata": {"name": "cart", "namespace": "shop", "uid": "u-1", "generation": 1},
           "spec": {"version": "1.0.0", "image": "cart", "hooks": {"beforeLoad": hook}}})
}

fn revision(hook: &Value) -> String {
    let plugin: Plugin = serde_json::from_value(bare(hook)).unwrap();
    forward_plan::hook_revision(&plugin, &forward_plan::Settings::default())
}

/// What a mock of the API server was asked, and what it answers to writes and to the Service's read.
struct Api {
    client: Client,
    objects: Arc<Mutex<BTreeMap<&'static str, Value>>>,
    asked: Arc<Mutex<Vec<(Method, String, Value)>>>,
}

fn api(service: Option<Value>, writes: fn(&str) -> Option<(StatusCode, &'static str)>) -> Api {
    let (mock, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let objects = Arc::new(Mutex::new(service.map(|service| ("services/", service)).into_iter().collect()));
    let (seen, there): (_, Arc<Mutex<BTreeMap<&'static str, Value>>>) = (asked.clone(), objects.clone());
    tokio::spawn(async move {
        while let Some((request, send)) = server.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
            let namespaced = parts.uri.path().rsplit_once("namespaces/").unwrap().1;
            let mut path = namespaced.split_once('/').unwrap().1.to_owned();
            let made = body["metadata"]["name"].as_str().filter(|_| parts.method == Method::POST);
            if let Some(name) = made {
                path = format!("{path}/{name}");
            }
            let refuse = |code: StatusCode, message: &str| {
                let reason = match code {
                    StatusCode::NOT_FOUND => "NotFound",
                    StatusCode::CONFLICT => "AlreadyExists",
                    _ => "Forbidden",
                };
                (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                              "reason": reason, "message": message}),
                )
            };
            let found =
                lock(&there).iter().find(|(kind, _)| path.starts_with(**kind)).map(|(_, it)| it.clone());
            let (code, answer) = match (&parts.method, found) {
                (&Method::GET, Some(object)) => (StatusCode::OK, object),
                (&Method::GET, None) => refuse(StatusCode::NOT_FOUND, "no"),
                (&Method::POST, Some(_)) if made.is_some() => refuse(StatusCode::CONFLICT, "there"),
                _ => match writes(&path) {
                    Some((code, message)) => refuse(code, message),
                    None => (StatusCode::OK, body.clone()),
                },
            };
            lock(&seen).push((parts.method, path, body));
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            send.send_response(Response::builder().status(code).body(answer).unwrap());
        }
    });
    Api { client: Client::new(mock, "shop"), objects, asked }
}

impl Api {
    /// Objects under such a path are there.
    fn there(&mut self, path: &'static str, object: Value) {
        lock(&self.objects).insert(path, object);
    }
}

struct Run {
    sink: Sink,
    calls: Arc<Calls>,
    next: Option<Duration>,
    id: String,
}

/// A plugin of whose hooks nothing is begun yet.
fn scene(api: &Api, plugin: Plugin) -> (Run, Snapshot) {
    let id = hook_runs(&plugin).pop_first().unwrap();
    let mut index = Index::default();
    index.apply(Object::Plugin(Arc::new(plugin)));
    let snapshot = index.snapshot("shop", "cart").unwrap();
    let sink = Sink { index: Arc::new(Mutex::new(index)), ..Sink::default() };
    let calls = Arc::new(Calls::new(api.client.clone(), sink.clone()));
    (Run { sink, calls, next: None, id }, snapshot)
}

/// Begin the hooks of a plugin, so many seconds after its hook became due.
async fn begin_at(api: &Api, plugin: Plugin, after: u64) -> Run {
    let (mut run, snapshot) = scene(api, plugin);
    let due = Instant::now();
    run.calls.due(&snapshot, due);
    run.begin(api, &snapshot, due + Duration::from_secs(after)).await;
    run
}

impl Run {
    async fn begin(&mut self, api: &Api, snapshot: &Snapshot, now: Instant) {
        let metrics = Metrics::new();
        let writer = Writer { client: &api.client, metrics: &metrics, plugin: &snapshot.plugin };
        self.next = begin(&writer, snapshot, &build::peers(), &self.calls, now).await.unwrap();
    }

    fn answers(&self) -> BTreeMap<String, Ran> {
        lock(&self.sink.index).snapshot("shop", "cart").unwrap().live.answers
    }

    /// What came of the call.
    async fn answer(&self) -> HookRun {
        self.ran().await.run
    }

    /// The same, and what else is seen of it.
    async fn ran(&self) -> Ran {
        let answered = async {
            loop {
                let changed = self.sink.changed.notified();
                if let Some(run) = self.answers().remove(&self.id) {
                    return run;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.expect("the call ends")
    }
}

fn job() -> Value {
    json!({"job": {"command": ["migrate"]}, "timeout": "20s"})
}

#[tokio::test]
async fn a_job_comes_after_what_its_pod_needs_and_is_looked_at_when_its_time_is_over() {
    let api = api(None, |_| None);
    let run = begin_at(&api, plugin(job(), PluginState::Unloaded), 5).await;
    assert_eq!(run.next, Some(Duration::from_secs(20 + 60 - 5)));
    let asked = lock(&api.asked);
    let mut written =
        asked.iter().filter(|(method, ..)| *method == Method::POST).map(|(_, path, _)| path.as_str());
    let kinds: Vec<_> = written.clone().map(|path| path.split('/').next().unwrap()).collect();
    assert_eq!(kinds, ["serviceaccounts", "configmaps", "networkpolicies", "jobs"]);
    assert_eq!(written.next_back().unwrap(), format!("jobs/cart-hook-{}", run.id));
}

#[tokio::test]
async fn a_job_that_is_there_is_not_changed() {
    let mut api = api(None, |_| None);
    let owner = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin", "name": "cart", "uid": "u-1",
                       "controller": true});
    api.there("jobs/", json!({"metadata": {"name": "x", "ownerReferences": [owner]}}));
    begin_at(&api, plugin(job(), PluginState::Unloaded), 0).await;
    let asked = lock(&api.asked);
    assert!(asked.iter().any(|(method, path, _)| *method == Method::POST && path.starts_with("jobs/")));
    assert!(!asked.iter().any(|(method, path, _)| *method == Method::PATCH && path.starts_with("jobs/")));
}

#[tokio::test]
async fn a_hook_of_which_nothing_is_heard_has_failed_in_the_end() {
    let api = api(None, |_| None);
    let run = begin_at(&api, plugin(job(), PluginState::Unloaded), 80).await;
    assert_eq!((run.next, lock(&api.asked).len()), (None, 0));
    assert!(matches!(run.answer().await, HookRun::Failed { .. }));
}

#[tokio::test]
async fn a_job_that_is_refused_has_failed_and_in_a_namespace_that_goes_it_is_skipped() {
    type Writes = fn(&str) -> Option<(StatusCode, &'static str)>;
    let quota: Writes = |path| path.starts_with("jobs/").then_some((StatusCode::FORBIDDEN, "exceeded quota"));
    let run = begin_at(&api(None, quota), plugin(job(), PluginState::Unloaded), 0).await;
    let HookRun::Failed { message } = run.answer().await else { panic!("it did not fail") };
    assert!(message.contains("exceeded quota"), "{message}");
    let going: Writes = |_| {
        let message = "unable to create new content in namespace shop because it is being terminated";
        Some((StatusCode::FORBIDDEN, message))
    };
    let run = begin_at(&api(None, going), plugin(job(), PluginState::Unloaded), 0).await;
    assert!(matches!(run.answer().await, HookRun::Skipped { .. }));
}

/// A server that answers one request with these bytes, and gives what it was sent.
async fn server(answer: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let is_whole = |request: &[u8]| request.ends_with(br#""type":"dev.goforward.hook.beforeLoad"}"#);
        while !is_whole(&request) {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the request has no end");
            request.extend(&bytes[..count]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "notifier", "namespace": "shop"}, "spec": spec})
}

fn own_service(port: u16) -> Value {
    service(json!({"clusterIP": "127.0.0.1", "selector": {"app": "notifier"}, "ports": [{"port": port}]}))
}

fn http(port: u16) -> Value {
    json!({"http": {"service": "notifier", "port": port, "path": "/hooks?of=cart"}, "timeout": "5s"})
}

/// What comes of a call of a Service like this, whose server answers so.
async fn call(answer: &'static str) -> (HookRun, String, Run) {
    let (port, served) = server(answer).await;
    let api = api(Some(own_service(port)), |_| None);
    let run = begin_at(&api, plugin(http(port), PluginState::Unloaded), 0).await;
    (run.answer().await, served.await.unwrap(), run)
}

#[tokio::test]
async fn a_run_is_counted_once_however_often_its_plugin_is_looked_at() {
    let api = api(None, |_| None);
    let run = begin_at(&api, plugin(job(), PluginState::Unloaded), 80).await;
    let seen = run.ran().await;
    assert_eq!((seen.kind, seen.late, seen.took), (HookKind::Job, true, None), "nothing was heard of it");
    let snapshot = || lock(&run.sink.index).snapshot("shop", "cart").unwrap();
    let (tally, metrics) = (Tally::default(), Metrics::new());
    let id = ("shop".into(), "cart".into());
    assert!(!tally.ends(&id, &snapshot()).is_empty());
    // What came of it could not be written: it is counted with the next try.
    let (first, again) = (tally.ends(&id, &snapshot()), tally.ends(&id, &snapshot()));
    tally.count(first, &metrics);
    tally.count(again, &metrics);
    // The new status is on its way.
    assert!(tally.ends(&id, &snapshot()).is_empty());
    let line = r#"forward_operator_hook_runs_total{hook="beforeLoad",kind="Job",outcome="Timeout"} 1"#;
    let text = metrics.render().unwrap();
    assert!(text.lines().any(|it| it == line), "{text}");
}

#[tokio::test]
async fn a_service_is_told_what_it_is_about() {
    let (answer, request, run) = call("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer, HookRun::Succeeded);
    let seen = run.ran().await;
    assert_eq!((seen.kind, seen.late, seen.took.is_some()), (HookKind::Http, false, true));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /hooks?of=cart http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: notifier.shop.svc:"), "{head}");
    assert!(head.contains(&format!("\r\nidempotency-key: {}", run.id)), "{head}");
    assert!(head.contains("\r\ncontent-type: application/cloudevents+json"), "{head}");
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["id"], run.id);
    assert_eq!(event["type"], "dev.goforward.hook.beforeLoad");
    assert_eq!(event["source"], "/namespaces/shop/plugins/cart");
    assert_eq!(event["data"]["plugin"], "cart");
    assert_eq!(event["data"]["hook"], "beforeLoad");
    assert!(event["data"]["revision"].is_string());
}

#[tokio::test]
async fn of_an_answer_nothing_is_told_but_its_status_and_no_redirect_is_followed() {
    let secret = "HTTP/1.1 500 Oh No\r\nContent-Length: 6\r\n\r\nsecret";
    let failed = |message: &str| HookRun::Failed { message: message.to_owned() };
    assert_eq!(call(secret).await.0, failed("answered with status 500"));
    let elsewhere =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(call(elsewhere).await.0, failed("answered with status 307"));
}

#[tokio::test]
async fn a_service_that_leads_out_of_the_namespace_is_not_called() {
    let (port, served) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let selector = json!({"app": "notifier"});
    let ports = json!([{"port": port}]);
    let cases = [
        (
            json!({"type": "ExternalName", "externalName": "127.0.0.1", "selector": selector, "ports": ports,
                "clusterIP": "127.0.0.1"}),
            "stands for a name elsewhere",
        ),
        (json!({"clusterIP": "127.0.0.1", "ports": ports}), "selects no pods"),
        (json!({"clusterIP": "127.0.0.1", "selector": {}, "ports": ports}), "selects no pods"),
        (json!({"clusterIP": "None", "selector": selector, "ports": ports}), "has no cluster address"),
        (json!({"clusterIP": "127.0.0.1", "selector": selector, "ports": [{"port": 1}]}), "has no port"),
    ];
    for (spec, why) in cases {
        let api = api(Some(service(spec.clone())), |_| None);
        let run = begin_at(&api, plugin(http(port), PluginState::Unloaded), 0).await;
        let HookRun::Failed { message } = run.answer().await else { panic!("{spec} was called") };
        assert!(message.contains(why), "{message}");
    }
    let run = begin_at(&api(None, |_| None), plugin(http(port), PluginState::Unloaded), 0).await;
    let HookRun::Failed { message } = run.answer().await else { panic!("nothing was called") };
    assert!(message.contains("no Service"), "{message}");
    assert!(!served.is_finished(), "somebody has called");
    served.abort();
}

/// How often the Service was looked up: once for each try to connect.
fn lookups(api: &Api) -> usize {
    lock(&api.asked).iter().filter(|(_, path, _)| path.starts_with("services/")).count()
}

#[tokio::test]
async fn a_call_that_is_under_way_is_not_made_twice_and_ends_with_its_operator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let api = api(Some(own_service(port)), |_| None);
    let run = begin_at(&api, plugin(http(port), PluginState::Unloaded), 0).await;
    let (mut first, _) = listener.accept().await.unwrap();
    let mut bytes = vec![0; 4];
    first.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"POST");
    let snapshot = lock(&run.sink.index).snapshot("shop", "cart").unwrap();
    let metrics = Metrics::new();
    let writer = Writer { client: &api.client, metrics: &metrics, plugin: &snapshot.plugin };
    begin(&writer, &snapshot, &build::peers(), &run.calls, Instant::now()).await.unwrap();
    let Run { sink, calls, .. } = run;
    drop(calls);
    // The end of the connection, whether by a reset or not.
    drop(first.read_to_end(&mut bytes).await);
    assert_eq!(lookups(&api), 1, "the Service was looked up once");
    assert!(lock(&sink.index).snapshot("shop", "cart").unwrap().live.answers.is_empty());
}

#[tokio::test]
async fn a_service_on_its_way_up_is_waited_for() {
    // Bound, so that no other test gets the address, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let api = api(Some(own_service(port)), |_| None);
    let run = begin_at(&api, plugin(http(port), PluginState::Unloaded), 0).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let tried_again = async {
        while lookups(&api) < 2 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), tried_again).await.expect("it is tried again");
    let listener = socket.listen(1).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = vec![0; 4096];
    assert!(stream.read(&mut bytes).await.unwrap() > 0);
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert_eq!(run.answer().await, HookRun::Succeeded);
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let api = api(Some(own_service(port)), |_| None);
    let mut hook = http(port);
    hook["timeout"] = "100ms".into();
    let run = begin_at(&api, plugin(hook, PluginState::Unloaded), 0).await;
    assert_eq!(run.answer().await, HookRun::Failed { message: "did not answer within 0.1 s".to_owned() });
    assert!(run.ran().await.late);
}

#[tokio::test]
async fn calls_that_are_never_answered_hold_up_those_of_their_namespace_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers what comes of the namespace `shop`, and holds on to everything else.
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            if String::from_utf8_lossy(&bytes[..count]).contains("host: notifier.shop.svc") {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
            held.push(stream);
        }
    });
    let api = api(Some(own_service(port)), |_| None);
    let (mut run, snapshot) = scene(&api, plugin(http(port), PluginState::Unloaded));
    let call = snapshot.decision.calls[0].clone();
    let hook = snapshot.plugin.spec.hooks.as_ref().unwrap().get(call.hook).unwrap();
    for number in 0..AT_ONCE {
        let mut target = target(&snapshot, &call, hook, hook.http.as_ref().unwrap());
        target.namespace = "noisy".to_owned();
        target.call.id = format!("noisy-{number}");
        target.limit = Duration::from_secs(600);
        run.calls.start(target);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let all_go = async {
        while lookups(&api) < OF_A_NAMESPACE {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_go).await.expect("as many go as may");
    run.begin(&api, &snapshot, Instant::now()).await;
    assert_eq!(run.answer().await, HookRun::Succeeded);
    assert_eq!(lookups(&api), OF_A_NAMESPACE + 1, "the others wait");
}
