//! What `/debug` tells is what requests meet with.

use std::net::SocketAddr;

use forward_gateway::{
    control::{
        index::{Handle, Index},
        process::{Process, Processes},
    },
    data::{
        balance::Dice,
        snapshot::{Match, Route, Snapshot},
        worker::Shared,
    },
    debug::{
        self, Debug,
        explain::{Explanation, explain, request},
        profile::Profiler,
    },
};
use forward_plan::routes::{Method, Pattern};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::*;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "BREW"];
const HOSTS: [&str; 4] = ["", "a.example", "A.example:8080", "b.example"];
const PATHS: [&str; 10] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/b/7/x", "/a/../b", "/a//b", "/%61"];
const ROUTES: [&str; 14] = [
    "GET /",
    "GET /a",
    "POST /a",
    "* /a",
    "GET /:x",
    "* /*r",
    "GET /a/b",
    "PUT /a/:x",
    "* /a/*r",
    "GET a.example/a",
    "* a.example/:x",
    "POST a.example/*r",
    "HEAD /a/b",
    "GET b.example/b/:id/x",
];

fn explained(shared: &Shared, method: &str, host: &str, path: &str) -> Explanation {
    explain(&shared.snapshot.load(), request(method, host, path, &[]).unwrap(), |_| Vec::new())
}

/// Random tables, and for each some requests: the plugin and the status that are told are those that
/// the request meets with.
#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let dice = Dice::new();
    let below = |bound: usize| usize::try_from(dice.roll()).unwrap() % bound;
    let origins: [SocketAddr; 3] = [named("p0|").await, named("p1|").await, named("p2|").await];
    let (mut plugins, mut refusals) = (0, 0);
    for _ in 0..40 {
        let gateway = Gateway::new();
        for (number, origin) in origins.iter().enumerate() {
            let routes = (0..below(4)).map(|_| ROUTES[below(ROUTES.len())]).collect::<Vec<_>>();
            // Some have no pod.
            let endpoints = if below(5) == 0 { &[][..] } else { std::slice::from_ref(origin) };
            gateway.plugin(&format!("p{number}"), &routes, endpoints);
        }
        for _ in 0..15 {
            let (method, host, path) =
                (METHODS[below(METHODS.len())], HOSTS[below(HOSTS.len())], PATHS[below(PATHS.len())]);
            let told = explained(&gateway.shared, method, host, path);
            let answer = gateway
                .ask(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
                .await;
            let met = format!("{method} {host} {path}: {told:?} and {answer}");
            match (&told.plugin, told.status) {
                (Some(plugin), None) => {
                    let name = plugin.strip_prefix("test/").unwrap();
                    let is_asked = method == "HEAD" || body(&answer).starts_with(&format!("{name}|"));
                    assert!(status(&answer) == 200 && is_asked, "{met}");
                    plugins += 1;
                }
                (_, Some(told)) => {
                    assert_eq!(status(&answer), told, "{met}");
                    refusals += 1;
                }
                (None, None) => panic!("{met}"),
            }
        }
    }
    assert!(plugins > 30 && refusals > 30, "{plugins} and {refusals}: too few to say anything");
}

fn table(routes: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for text in routes {
        let (method, target) = text.split_once(' ').unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap());
        let plugin = forward_gateway::data::snapshot::Plugin::new(
            forward_plan::routes::PluginId::new("test", *text),
            1,
        );
        let route = Route { plugin, pattern: path.to_owned(), stats: std::sync::Arc::default(), chain: None };
        let pattern = path.parse::<Pattern>().unwrap();
        snapshot.set(host, pattern.segments(), method.parse().unwrap(), Some(std::sync::Arc::new(route)));
    }
    snapshot
}

/// Whether a route's method answers a request's, taken alone.
fn fits(route: &str, method: &str) -> bool {
    match route.parse::<Method>().unwrap() {
        Method::Any => true,
        Method::Get => ["GET", "HEAD"].contains(&method),
        own => own.as_str() == method,
    }
}

proptest! {
    #[test]
    fn the_winner_is_the_routers_and_every_other_candidate_lost(
        routes in prop::collection::vec(prop::sample::select(ROUTES.to_vec()), 0..10),
        method in prop::sample::select(METHODS.to_vec()),
        host in prop::sample::select(vec!["", "a.example", "b.example"]),
        path in prop::sample::select(PATHS.iter().copied().filter(|path| !path.contains("..")).collect::<Vec<_>>()),
    ) {
        let snapshot = table(&routes);
        let told = explain(&snapshot, request(method, host, path, &[]).unwrap(), |_| Vec::new());
        let found = match snapshot.find(host, &method.parse().unwrap(), path) {
            Match::Route(route) => Some(route.plugin.label.clone()),
            Match::Allow(_) | Match::NotFound => None,
        };
        prop_assert_eq!(&told.plugin, &found);
        let chosen = told.candidates.iter().filter(|it| it.chosen).map(|it| it.plugin.clone()).collect::<Vec<_>>();
        prop_assert_eq!(chosen, found.iter().cloned().collect::<Vec<_>>());
        let winner = told.candidates.iter().position(|it| it.chosen);
        for (at, it) in told.candidates.iter().enumerate().filter(|(at, _)| Some(*at) != winner) {
            let fits = fits(it.method, method);
            prop_assert_eq!(it.why == format!("it is not for {method}"), !fits, "{:?}", it);
            // What fits and stands before the winner has the winner's own path.
            let own = winner.map(|winner| (&told.candidates[winner].host, &told.candidates[winner].path));
            prop_assert!(
                !fits || winner.is_some_and(|winner| at > winner) || own == Some((&it.host, &it.path)),
                "{:?}", told
            );
        }
        prop_assert!(!told.candidates.is_empty() || told.status == Some(404), "{:?}", told);
    }
}

#[tokio::test]
async fn says_why_others_lost_and_what_is_near() {
    let gateway = Gateway::new();
    gateway.plugin("p", &["GET /pay/:id", "POST /pay/:id", "* /pay/*rest", "GET h.example/x"], &[]);
    let told = explained(&gateway.shared, "GET", "", "/pay/7");
    let why = |path: &str, method: &str| {
        let it = told.candidates.iter().find(|it| it.path == path && it.method == method);
        it.unwrap_or_else(|| panic!("{told:?}")).why.clone()
    };
    assert_eq!(why("/pay/:id", "GET"), "host, path and method match");
    assert_eq!(why("/pay/:id", "POST"), "it is not for GET");
    assert_eq!(why("/pay/*rest", "*"), "segment 2 is the *rest, and a :parameter goes before it");
    assert_eq!(told.status, Some(503), "{told:?}");
    let near = |path: &str| explained(&gateway.shared, "GET", "", path).near;
    assert_eq!(near("/x"), ["GET h.example/x of test/p is for another host"]);
    assert!(
        near("/pay").iter().any(|it| it.ends_with("the path ends before segment 2")),
        "{:?}",
        near("/pay")
    );
    let bad = explained(&gateway.shared, "GET", "", "/a/../b");
    assert_eq!((bad.status, bad.why.as_str()), (Some(400), "the path has a segment '.' or '..'"));
}

#[tokio::test]
async fn a_browsers_question_is_about_the_route_that_it_asks_for() {
    let gateway = Gateway::new();
    let cors = json!([{"name": "pages", "cors": {"origins": ["https://a.example"]}}]);
    let with = chain(cors);
    gateway.plugin_with("p", &["PUT /x"], &[nobody()], Some(with));
    let named = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")];
    let named = named.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let head = request("OPTIONS", "", "/x", &named).unwrap();
    let told = explain(&gateway.shared.snapshot.load(), head, |_| Vec::new());
    assert_eq!((told.plugin.as_deref(), told.status), (Some("test/p"), None), "{told:?}");
    assert!(told.why.starts_with("a browser asks about PUT"), "{told:?}");
    let plain = explained(&gateway.shared, "OPTIONS", "", "/x");
    let answer = gateway.ask("OPTIONS /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!((plain.plugin, plain.status), (None, Some(status(&answer))));
}

/// `/debug` of a gateway.
async fn debug_of(gateway: &Gateway) -> (SocketAddr, Processes) {
    let index = Handle::new(Index::new(gateway.shared.clone(), "a"));
    let processes = Processes::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shared, profiler) = (gateway.shared.clone(), Profiler::new(index.clone()));
    let debug = Debug { shared, index, profiler, processes: processes.clone(), tls: None };
    tokio::spawn(debug::serve(listener, debug));
    (address, processes)
}

async fn ask(address: SocketAddr, host: &str, target: &str) -> String {
    let mut peer = Peer::connect(address).await;
    peer.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    peer.rest().await
}

#[tokio::test]
async fn shows_what_holds_and_no_secret() {
    let gateway = Gateway::new();
    let entries = json!([
        {"name": "secret", "headers": {"request": {"set": [{"name": "Authorization", "value": "Bearer hush"}]}}},
        {"name": "often", "rateLimit": {"requests": 7, "per": "1m"}},
    ]);
    let with = chain(entries);
    gateway.plugin_with("p", &["GET /x"], &[nobody()], Some(with));
    let (address, _) = debug_of(&gateway).await;
    let answer = ask(address, "localhost:9091", "/debug/config").await;
    let config: Value = serde_json::from_str(body(&answer)).unwrap();
    let names = &config["routes"][0]["middleware"];
    assert_eq!((names[0]["name"].as_str(), names[1]["kind"].as_str()), (Some("often"), Some("headers")));
    assert_eq!(names[0]["bound"], "7 per 60s, 7 at once", "{config}");
    assert!(!answer.contains("hush") && !answer.contains("Authorization"), "{answer}");
    let answer = ask(address, "[::1]:9091", "/debug/explain?path=/x&format=text").await;
    assert!(answer.contains("\r\ncontent-type: text/plain") && !answer.contains("hush"), "{answer}");
    assert!(body(&answer).contains("goes to test/p by /x"), "{answer}");
}

#[tokio::test]
async fn answers_to_names_of_the_loopback_alone_and_says_what_is_wrong() {
    let gateway = Gateway::new();
    let (address, _) = debug_of(&gateway).await;
    for (host, target, expected, why) in [
        ("evil.example", "/debug/config", 403, "the Host must be localhost"),
        ("localhost.evil.example:9091", "/debug/config", 403, "the Host must be"),
        ("localhost", "/debug/explain", 400, "path= is missing"),
        ("localhost", "/debug/explain?path=x", 400, "does not start with '/'"),
        ("localhost", "/debug/explain?path=/x&verb=GET", 400, "\"verb\" is none of"),
        ("localhost", "/debug/explain?path=/x&header=a", 400, "is not 'name: value'"),
        ("localhost", "/debug/plugins/no/body", 404, "there is no plugin no/body"),
        ("127.0.0.1", "/debug/plugins?format=xml", 400, "neither text nor json"),
        ("127.0.0.1", "/debug/plugins", 200, ""),
    ] {
        let answer = ask(address, host, target).await;
        assert!(status(&answer) == expected && body(&answer).contains(why), "{host} {target}: {answer}");
    }
    assert!(debug::loopback("0.0.0.0:9091").is_err() && debug::loopback("[::1]:9091").is_ok());
}

/// The counters of a plugin that is asked are those that its profile is made of.
#[tokio::test]
async fn a_profile_tells_of_requests() {
    let gateway = Gateway::new();
    let plugin = gateway.to(named("p").await);
    for _ in 0..20 {
        assert_eq!(status(&gateway.get("/x").await), 200);
    }
    set_endpoints(&plugin, &[]);
    assert_eq!(status(&gateway.get("/x").await), 503);
    until(|| totals(&plugin).in_flight == 0).await;
    let index = Handle::new(Index::new(gateway.shared.clone(), "a"));
    let (profiler, processes) = (Profiler::new(index), Processes::default());
    let process = Process { memory_bytes: Some(1e6), ..Process::default() };
    processes.say(&plugin.id, "uid", "p-1", process, tokio::time::Instant::now());
    // The profiler has not seen it before: what came earlier came at no known time.
    let profile = debug::told::Profile::of(&plugin, &profiler, &processes);
    let told = serde_json::to_value(&profile).unwrap();
    assert_eq!(told["windows"][0]["requests"], 0, "{told}");
    assert_eq!((&told["processes"][0]["pod"], &told["inFlight"]), (&json!("p-1"), &json!(0)), "{told}");
    assert!(told["lastActivity"].is_string(), "{told}");
    assert_eq!(told["upstreamErrors"], json!([["no_endpoint", 1]]), "{told}");
    let course = forward_gateway::data::stats::Course::of(plugin.stats.iter());
    assert_eq!((course.latencies.iter().sum::<u32>(), course.failed), (21, 1));
    assert!(debug::told::page(&profile).contains("p-1"));
}
