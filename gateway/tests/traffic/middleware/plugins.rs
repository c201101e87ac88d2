//! Middleware that plugins provide: what they are asked, what they may say, and what happens when
//! they say nothing.

mod callers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use forward_crds::{Middleware, ProvidedMiddleware};
use forward_gateway::{
    callers::Callers,
    data::{
        chain::{Chain, Site},
        snapshot::Plugin,
        stats::UpstreamError,
    },
};
use forward_plan::{
    middleware::{self as plan, Provided},
    routes::{Method, PluginId},
};
use forward_proto::plugin::v1::{
    Continue, Header, HeaderChanges, Identity, OnRequestRequest, OnRequestResponse, OnResponseRequest,
    OnResponseResponse, Redirect, Respond,
    middleware_server::{Middleware as Service, MiddlewareServer},
    on_request_response::Outcome,
};
use futures::{StreamExt, future::join_all};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::*;
use crate::harness::Fresh;

/// A plugin that does what the header `x-want` says, and marks what passes.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<OnRequestRequest>>>,
    about: Arc<Mutex<Vec<OnResponseRequest>>>,
    /// How many calls came in.
    calls: Arc<AtomicUsize>,
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.as_bytes().to_vec() }
}

fn wanted(headers: &[Header]) -> String {
    let want = headers.iter().find(|header| header.name == "x-want");
    want.map(|header| String::from_utf8(header.value.clone()).unwrap()).unwrap_or_default()
}

#[tonic::async_trait]
impl Service for Fake {
    async fn on_request(
        &self,
        question: Request<OnRequestRequest>,
    ) -> Result<Response<OnRequestResponse>, Status> {
        let question = question.into_inner();
        self.calls.fetch_add(1, Relaxed);
        self.asked.lock().unwrap().push(question.clone());
        let marked = |name: &str| HeaderChanges {
            remove: vec!["cookie".to_owned()],
            set: vec![header("X-Tenant", "shop")],
            add: vec![header(name, &question.middleware)],
        };
        let on = |changes| Outcome::Continue(Continue { headers: changes, ..Continue::default() });
        let identity = Identity { subject: "ada".to_owned(), permissions: vec!["read".to_owned()] };
        let outcome = match wanted(&question.headers).as_str() {
            "ada" if question.middleware == "later" => on(None),
            "ada" => Outcome::Continue(Continue { identity: Some(identity), ..Continue::default() }),
            "kept" | "kept-briefly" | "kept-for-ever" | "kept-changed" => {
                let seconds = match wanted(&question.headers).as_str() {
                    "kept-briefly" => 1,
                    "kept-for-ever" => i64::MAX,
                    _ => 30,
                };
                let headers = (wanted(&question.headers) == "kept-changed").then(|| marked("x-seen-by"));
                let cache_for = Some(prost_types::Duration { seconds, nanos: 0 });
                let identity = Some(identity);
                Outcome::Continue(Continue { headers, identity, cache_for })
            }
            "change" => on(Some(marked("x-seen-by"))),
            "respond" => Outcome::Respond(Respond {
                status: 402,
                headers: vec![header("Set-Cookie", "a=b"), header("set-cookie", "c=d")],
                body: b"pay first".to_vec(),
            }),
            "redirect" => Outcome::Redirect(Redirect { location: "/login?then=x".to_owned(), status: 303 }),
            "fail" => return Err(Status::internal("as asked")),
            "hang" => std::future::pending().await,
            "nothing" => return Ok(Response::new(OnRequestResponse::default())),
            "own-header" => {
                let set = vec![header("content-length", "0")];
                on(Some(HeaderChanges { set, ..HeaderChanges::default() }))
            }
            _ => on(None),
        };
        Ok(Response::new(OnRequestResponse { outcome: Some(outcome) }))
    }

    async fn on_response(
        &self,
        question: Request<OnResponseRequest>,
    ) -> Result<Response<OnResponseResponse>, Status> {
        let question = question.into_inner();
        self.about.lock().unwrap().push(question.clone());
        if question.headers.iter().any(|header| header.name == "x-poison") {
            return Err(Status::internal("as asked"));
        }
        let add = vec![header("x-passed", &question.middleware)];
        Ok(Response::new(OnResponseResponse {
            headers: Some(HeaderChanges { remove: vec!["server".to_owned()], set: vec![], add }),
        }))
    }
}

impl Fake {
    async fn serve(&self) -> SocketAddr {
        self.serve_counted(&Arc::default()).await
    }

    /// The same, with its connections counted.
    async fn serve_counted(&self, connections: &Arc<AtomicUsize>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(MiddlewareServer::new(self.clone()));
        let connections = connections.clone();
        let incoming = TcpIncoming::from(listener).inspect(move |_| {
            connections.fetch_add(1, Relaxed);
        });
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

/// A gateway, a plugin that provides middleware, and one whose requests it is about.
struct Scene {
    gateway: Gateway,
    auth: Arc<Plugin>,
    target: Arc<Plugin>,
}

impl Scene {
    /// `pods` are asked for `provided` about all requests, with `builtin` beside it.
    fn new(provided: Value, builtin: Value, pods: &[SocketAddr], target: SocketAddr) -> Self {
        let gateway = Gateway::new();
        let auth = gateway.plugin("auth", &[], pods);
        let chain = chain(provided, builtin, &auth, &gateway.shared.callers);
        let routes = ["* /", "* /x", "* /orders/:id/*rest"];
        let target = gateway.plugin_with("origin", &routes, &[target], Some(chain));
        Self { gateway, auth, target }
    }

    async fn get(&self, want: &str) -> String {
        get(&self.gateway, &format!("X-Want: {want}\r\nCookie: a=b\r\nX-Tenant: mine\r\n")).await
    }
}

fn chain(provided: Value, builtin: Value, auth: &Arc<Plugin>, callers: &Callers) -> Arc<Chain> {
    let entries: Vec<ProvidedMiddleware> = serde_json::from_value(provided).unwrap();
    let builtin: Vec<Middleware> = serde_json::from_value(builtin).unwrap();
    let provided =
        entries.iter().map(|entry| Provided { provider: "auth", entry, allowed: true }).collect::<Vec<_>>();
    let plan = plan::Chain::new(&[], &builtin, &provided);
    let mut fresh = Fresh { spares: &BTreeMap::new(), asked: Some(auth.clone()) };
    let site = Site { plugin: &PluginId::new("test", "origin"), callers, plain_paths: false };
    Arc::new(Chain::compile(plan.of_route(&[], Method::Any), &site, &mut fresh))
}

fn check(mode: &str) -> Value {
    json!([{"name": "check", "phase": "Limit", "failureMode": mode, "deadline": "300ms"}])
}

#[tokio::test]
async fn a_plugin_decides_what_becomes_of_a_request() {
    let fake = Fake::default();
    let scene = Scene::new(check("Closed"), json!([]), &[fake.serve().await], mirror().await);
    let as_it_is = scene.get("").await;
    assert_eq!((status(&as_it_is), value(body(&as_it_is), "cookie")), (200, Some("a=b")));
    let changed = scene.get("change").await;
    let seen = body(&changed);
    assert_eq!((value(seen, "cookie"), value(seen, "x-tenant")), (None, Some("shop")), "{seen}");
    assert_eq!(value(seen, "x-seen-by"), Some("check"));
    let answered = scene.get("respond").await;
    assert_eq!((status(&answered), body(&answered)), (402, "pay first"));
    assert_eq!(answered.matches("set-cookie").count(), 2, "{answered}");
    let redirected = scene.get("redirect").await;
    assert_eq!((status(&redirected), value(&redirected, "location")), (303, Some("/login?then=x")));
    assert_eq!(fake.calls(), 4, "one call for each request");
    let pod = &scene.auth.endpoints()[0];
    assert_eq!(pod.in_flight.load(Relaxed), 0);
}

#[tokio::test]
async fn is_told_what_a_request_is_and_nothing_that_a_stranger_claims() {
    let fake = Fake::default();
    let scene = Scene::new(check("Closed"), json!([]), &[fake.serve().await], mirror().await);
    let lines = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Key: k\r\n";
    let request =
        format!("POST /orders/7%2F8/a/b?q=1&r HTTP/1.1\r\n{CLOSE}{lines}Content-Length: 4\r\n\r\nbody");
    let answer = scene.gateway.ask(&request).await;
    assert!(status(&answer) == 200 && answer.ends_with("body"), "{answer}");
    let asked = fake.asked.lock().unwrap()[0].clone();
    let expected = OnRequestRequest {
        middleware: "check".to_owned(),
        plugin: "origin".to_owned(),
        route: "/orders/:id/*rest".to_owned(),
        path_parameters: [("id", "7%2F8"), ("rest", "a/b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        host: "a".to_owned(),
        path: "/orders/7%2F8/a/b".to_owned(),
        query: "q=1&r".to_owned(),
        headers: asked
            .headers
            .iter()
            .filter(|header| header.name == "traceparent")
            .cloned()
            .chain([header("x-key", "k")])
            .collect(),
        client_address: "127.0.0.1".to_owned(),
        request_id: value(&answer, "x-request-id").unwrap().to_owned(),
        body: None,
        identity: None,
    };
    let sorted = |mut asked: OnRequestRequest| {
        asked.headers.sort_by(|one, other| one.name.cmp(&other.name));
        asked
    };
    assert_eq!(sorted(asked), sorted(expected));
}

#[tokio::test]
async fn without_an_answer_a_request_ends_or_goes_on() {
    for (mode, expected) in [("Closed", 503), ("Open", 200)] {
        let fake = Fake::default();
        let alive = fake.serve().await;
        let scene = Scene::new(check(mode), json!([]), &[alive], mirror().await);
        for want in ["fail", "hang", "nothing", "own-header"] {
            let answer = scene.get(want).await;
            assert_eq!(status(&answer), expected, "{mode} {want}: {answer}");
            let told = body(&answer).contains("plugin test/auth gave no answer for middleware check");
            assert_eq!(told, mode == "Closed", "{answer}");
            assert_eq!(value(&answer, "retry-after").is_some(), mode == "Closed");
            // Failures in a row would pause it.
            assert_eq!(status(&scene.get("").await), 200);
        }
        assert_eq!(totals(&scene.auth).errors.iter().sum::<u64>(), 4);
        scene.auth.set_unhealthy(true);
        assert_eq!(status(&scene.get("").await), expected, "{mode}: unhealthy");
        scene.auth.set_unhealthy(false);
        for (pods, what) in [(vec![], "no pod"), (vec![nobody()], "nobody listens")] {
            set_endpoints(&scene.auth, &pods);
            assert_eq!(status(&scene.get("").await), expected, "{mode}: {what}");
        }
        set_endpoints(&scene.auth, &[nobody(), alive]);
        for _ in 0..4 {
            assert_eq!(status(&scene.get("").await), 200, "another pod answers");
        }
    }
}

#[tokio::test]
async fn is_shown_bodies_that_are_small_enough_and_they_go_on() {
    let fake = Fake::default();
    let shown = |name: &str, most: u64| json!({"name": name, "phase": "Limit", "body": {"maxBytes": most}});
    let provided = json!([shown("a", 8), shown("b", 6)]);
    let builtin = json!([{"name": "small", "priority": -1, "bodyLimit": {"maxBytes": 5}}]);
    let scene = Scene::new(provided, builtin, &[fake.serve().await], mirror().await);
    let post = |headers: &str, body: &str| format!("POST /x HTTP/1.1\r\n{CLOSE}{headers}\r\n{body}");
    let answer = scene.gateway.ask(&post("Content-Length: 5\r\n", "12345")).await;
    assert!(status(&answer) == 200 && answer.ends_with("12345"), "{answer}");
    assert_eq!(value(body(&answer), "content-length"), Some("5"));
    let seen = || fake.asked.lock().unwrap().drain(..).map(|it| it.body.unwrap()).collect::<Vec<_>>();
    assert_eq!(seen(), [b"12345", b"12345"]);
    let expecting = scene.gateway.ask(&post("Content-Length: 2\r\nExpect: 100-continue\r\n", "ab")).await;
    assert!(expecting.contains("200 OK") && expecting.ends_with("ab"), "{expecting}");
    seen();
    let none = get(&scene.gateway, "").await;
    assert_eq!((status(&none), seen()), (200, vec![vec![], vec![]]));
    for (request, asked, what) in [
        (post("Content-Length: 9\r\n", ""), 0, "said to be too large for the first"),
        (post("Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n4\r\n6789\r\n"), 0, "too large for the first"),
        (post("Content-Length: 7\r\n", "1234567"), 1, "too large for the second"),
        (post("Content-Length: 6\r\n", "123456"), 2, "too large for what stands behind"),
        (post("Transfer-Encoding: chunked\r\n", "6\r\n123456\r\n0\r\n\r\n"), 2, "the same in chunks"),
    ] {
        let answer = scene.gateway.ask(&request).await;
        assert_eq!((status(&answer), seen().len()), (413, asked), "{what}: {answer}");
    }
    let broken = scene.gateway.ask(&post("Transfer-Encoding: chunked\r\n", "nonsense\r\n")).await;
    assert!([400, 413].contains(&status(&broken)), "{broken}");
}

#[tokio::test]
async fn a_body_is_not_waited_for_where_nobody_can_be_asked_about_it() {
    for (mode, expected) in [("Closed", 503), ("Open", 200)] {
        let provided =
            json!([{"name": "check", "phase": "Limit", "failureMode": mode, "body": {"maxBytes": 8}}]);
        let scene = Scene::new(provided, json!([]), &[], mirror().await);
        let mut client = scene.gateway.client().await;
        client.send(format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: 5\r\n\r\n")).await;
        if mode == "Open" {
            // The plugin gets what comes.
            until(|| at_pods(&scene.target) == 1).await;
            client.send("12345").await;
        }
        let answer = client.rest().await;
        assert_eq!(status(&answer), expected, "{mode}: {answer}");
    }
}

#[tokio::test]
async fn shows_chunked_bodies_and_sends_them_on() {
    let fake = Fake::default();
    let provided = json!([{"name": "a", "phase": "Limit", "body": {"maxBytes": 8}}]);
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        let body = peer.until("0\r\n\r\n").await;
        let seen = format!("{head}{body}");
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len())).await;
    })
    .await;
    let scene = Scene::new(provided, json!([]), &[fake.serve().await], plugin);
    let request = format!(
        "POST /x HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    );
    let answer = scene.gateway.ask(&request).await;
    assert!(status(&answer) == 200 && answer.contains("abcd"), "{answer}");
    assert_eq!(fake.asked.lock().unwrap()[0].body.as_deref(), Some(&b"abcd"[..]));
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_open_one_connection() {
    let (fake, connections) = (Fake::default(), Arc::default());
    let scene =
        Scene::new(check("Closed"), json!([]), &[fake.serve_counted(&connections).await], mirror().await);
    let answers = join_all((0..40).map(|_| scene.get(""))).await;
    assert!(answers.iter().all(|answer| status(answer) == 200));
    let most = scene.gateway.shared.workers();
    assert!(connections.load(Relaxed) <= most, "{connections:?} by {most} threads");
}

#[tokio::test]
async fn who_asks_for_identity_is_never_let_past() {
    let entry = json!([{"name": "check", "phase": "Authorize", "failureMode": "Open"}]);
    let scene = Scene::new(entry, json!([]), &[nobody()], mirror().await);
    assert_eq!(status(&scene.get("").await), 503);
}

#[tokio::test]
async fn answers_that_are_not_of_the_contract_are_none() {
    let trailers = |status: Option<&'static str>| {
        let mut trailers = http::HeaderMap::new();
        if let Some(status) = status {
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
        }
        trailers
    };
    let good = b"\0\0\0\0\x02\x0a\0";
    for (name, code, bytes, end, expected) in [
        ("as it should be", 200, &good[..], Some("0"), 200),
        ("no status at its end", 200, good, None, 503),
        ("a status that is not OK", 200, good, Some("14"), 503),
        ("an HTTP status", 404, good, Some("0"), 503),
        ("no message", 200, b"", Some("0"), 503),
        ("half a prefix", 200, b"\0\0\0", Some("0"), 503),
        ("a longer message than there is", 200, b"\0\0\0\0\x09\x0a\0", Some("0"), 503),
        ("compressed", 200, b"\x01\0\0\0\x02\x0a\0", Some("0"), 503),
        ("another message", 200, b"\0\0\0\0\x02\xff\xff", Some("0"), 503),
    ] {
        let pod = raw(code, bytes, trailers(end)).await;
        let scene = Scene::new(check("Closed"), json!([]), &[pod], mirror().await);
        let answer = scene.get("").await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
    }
}

/// A pod that answers each call with these bytes.
async fn raw(status: u16, bytes: &'static [u8], trailers: http::HeaderMap) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = http::Response::builder().status(status).body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(bytes::Bytes::from_static(bytes), false).unwrap();
            body.send_trailers(trailers.clone()).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn is_left_alone_after_failures_in_a_row_and_asked_again_in_a_while() {
    let fake = Fake::default();
    let scene = Scene::new(check("Closed"), json!([]), &[fake.serve().await], mirror().await);
    for _ in 0..20 {
        assert_eq!(status(&scene.get("hang").await), 503);
    }
    // On a machine that is busy a pause may have gone by meanwhile.
    assert!(fake.calls() < 20, "{} calls", fake.calls());
    let recovered = async {
        while status(&scene.get("").await) != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recovered).await.unwrap();
    assert_eq!(status(&scene.get("").await), 200);
}

#[tokio::test]
async fn acts_in_the_order_of_all_middleware_and_on_answers_the_other_way_round() {
    let fake = Fake::default();
    let provided = json!([
        {"name": "last", "phase": "Observe", "response": true},
        {"name": "first", "phase": "Authenticate", "response": true},
        {"name": "silent", "phase": "Transform"},
    ]);
    let builtin = json!([
        {"name": "office", "ipFilter": {"deny": ["10.0.0.0/8"]}},
        {"name": "often", "rateLimit": {"requests": 2, "per": "1h"}},
        {"name": "marked", "headers": {"response": {"add": [{"name": "X-Passed", "value": "marked"}]}}},
    ]);
    let scene = Scene::new(provided, builtin, &[fake.serve().await], mirror().await);
    let passed = |answer: &str| {
        let lines = answer.lines().filter_map(|line| line.strip_prefix("x-passed: "));
        lines.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let answer = scene.get("").await;
    assert_eq!((status(&answer), passed(&answer).as_str()), (200, "last marked first"));
    let asked = fake.asked.lock().unwrap().iter().map(|it| it.middleware.clone()).collect::<Vec<_>>();
    assert_eq!(asked, ["first", "silent", "last"]);
    let about = fake.about.lock().unwrap()[0].clone();
    assert_eq!((about.status, about.method.as_str(), about.path.as_str()), (200, "GET", "/x"));
    assert_eq!(about.request_id, value(&answer, "x-request-id").unwrap());
    // Answers of the gateway itself are answers.
    scene.target.set_unhealthy(true);
    let answer = scene.get("").await;
    assert_eq!((status(&answer), passed(&answer).as_str()), (503, "last marked first"));
    let answer = scene.get("").await;
    assert_eq!((status(&answer), passed(&answer).as_str()), (429, "first"), "it did not come further");
}

#[tokio::test]
async fn an_answer_that_could_not_be_asked_about_is_held_back_or_let_be() {
    for (mode, expected) in [("Closed", 503), ("Open", 200)] {
        let fake = Fake::default();
        let provided = json!([{"name": "check", "phase": "Limit", "failureMode": mode, "response": true}]);
        let builtin = json!([
            {"name": "often", "rateLimit": {"requests": 2, "per": "1h"}},
            {"name": "poison", "headers": {"response": {"add": [{"name": "X-Poison", "value": "1"}]}}},
        ]);
        let scene = Scene::new(provided, builtin, &[fake.serve().await], mirror().await);
        let answer = scene.get("").await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert_eq!(value(&answer, "x-poison").is_some(), mode == "Open");
        assert!(value(&answer, "ratelimit").is_some(), "{answer}");
        until(|| totals(&scene.target).in_flight == 0).await;
    }
}

#[tokio::test]
async fn is_not_asked_about_answers_to_what_it_did_not_hear_of() {
    let fake = Fake::default();
    let provided = json!([{"name": "check", "phase": "Limit", "failureMode": "Open", "response": true}]);
    let scene = Scene::new(provided, json!([]), &[fake.serve().await], mirror().await);
    assert_eq!(status(&scene.get("fail").await), 200);
    assert!(fake.about.lock().unwrap().is_empty());
    assert_eq!(value(&scene.get("").await, "x-passed"), Some("check"));
}

#[tokio::test]
async fn answers_for_calls_of_grpc_as_grpc_says_it() {
    let scene = Scene::new(check("Closed"), json!([]), &[nobody()], mirror().await);
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{}", scene.gateway.address)).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<String, String>::default();
    let path = http::uri::PathAndQuery::from_static("/x");
    let refused = client.unary(Request::new(String::new()), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("middleware check"), "{refused:?}");
}

#[tokio::test]
async fn says_who_asks_in_the_phase_for_that_and_the_plugin_is_told() {
    let guard = json!([{"name": "readers", "permissions": {"require": ["read"]}}]);
    let claim = "\r\nX-Forward-Subject: ada\r\nX-Forward-Permissions: read";
    for (phase, want, expected) in [
        ("Authenticate", "ada", 200),
        ("Authenticate", "", 403),
        ("Authenticate", claim, 403),
        ("Identify", "ada", 503),
    ] {
        let provided = json!([{"name": "who", "phase": phase}]);
        let scene = Scene::new(provided, guard.clone(), &[Fake::default().serve().await], mirror().await);
        let answer = scene.get(want).await;
        assert_eq!(status(&answer), expected, "{phase} {want:?}: {answer}");
        let told = ["x-forward-subject", "x-forward-permissions", "x-forward-auth-method"];
        let told = told.map(|name| value(body(&answer), name));
        let expected = if expected == 200 { [Some("ada"), Some("read"), Some("plugin")] } else { [None; 3] };
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn what_it_cannot_make_sense_of_does_not_turn_it_off_for_others() {
    let fake = Fake::default();
    let scene = Scene::new(check("Closed"), json!([]), &[fake.serve().await], mirror().await);
    for want in ["fail", "nothing", "own-header"].repeat(4) {
        assert_eq!(status(&scene.get(want).await), 503);
    }
    assert_eq!(status(&scene.get("").await), 200);
    assert_eq!(fake.calls(), 13, "it was asked each time");
}

#[tokio::test]
async fn questions_wait_for_themselves_and_not_with_the_plugins_own_requests() {
    let scene = Scene::new(check("Closed"), json!([]), &[mute().await], mirror().await);
    let mut client = scene.gateway.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| scene.auth.asked.underway() == 1).await;
    assert_eq!(scene.auth.waiting.underway(), 0);
    assert_eq!(status(&client.head().await), 503);
    until(|| scene.auth.asked.underway() == 0).await;
    let places = (0..1024).map(|_| scene.auth.asked.enter(usize::MAX)).collect::<Vec<_>>();
    assert_eq!(status(&scene.get("").await), 503);
    assert_eq!(totals(&scene.auth).errors[UpstreamError::Overloaded as usize], 1);
    drop(places);
}

#[tokio::test]
async fn bodies_that_are_shown_share_what_there_is_of_memory() {
    let fake = Fake::default();
    let provided = json!([{"name": "check", "phase": "Limit", "body": {"maxBytes": 1000}}]);
    let scene = Scene::new(provided, json!([]), &[fake.serve().await], mirror().await);
    let room = scene.gateway.shared.gathering.clone();
    let all = room.available_permits();
    // In as many pieces as it has bytes.
    let chunked = format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(1000));
    let post = format!("POST /x HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n{chunked}");
    let answer = scene.gateway.ask(&post).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(fake.asked.lock().unwrap()[0].body, Some(vec![b'a'; 1000]));
    until(|| room.available_permits() == all).await;
    let taken = room.try_acquire_many(u32::try_from(all - 999).unwrap()).unwrap();
    let refused = scene.gateway.ask(&post).await;
    assert_eq!((status(&refused), value(&refused, "retry-after")), (503, Some("1")), "{refused}");
    let small = format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: 3\r\n\r\nabc");
    assert_eq!(status(&scene.gateway.ask(&small).await), 200);
    drop(taken);
    assert_eq!(status(&scene.gateway.ask(&post).await), 200);
    until(|| room.available_permits() == all).await;
    let mut slow = scene.gateway.client().await;
    slow.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nab").await;
    until(|| room.available_permits() == all - 2).await;
    drop(slow);
    until(|| room.available_permits() == all).await;
}
