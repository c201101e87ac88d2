//! What is tried to reach a guarded plugin without being known, each with what is answered. The
//! plugin writes down whatever reaches it.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use forward_crds::Plugin;
use forward_gateway::control::index::{Index, Object};
use h2::ext::Protocol;
use http::{Method, Request};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    frames::{fields, frame, opening, refusal},
    http2::Client,
};

/// What has reached a plugin.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Seen {
    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A plugin that writes down what it gets, and says yes to all of it.
async fn watched() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let writes = seen.clone();
    let address = origin(move |mut peer| {
        let writes = writes.clone();
        async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = peer.stream.read(&mut bytes).await {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let is_head = text.contains("HTTP/1.1\r\n");
                writes.0.lock().unwrap().push_str(&text);
                if is_head {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        }
    });
    (address.await, seen)
}

/// A gateway with one plugin, made from objects as in a cluster.
fn serve(plugin: Value, endpoint: SocketAddr) -> Gateway {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let mut spec = json!({"version": "1.0.0", "image": "x"});
    spec.as_object_mut().unwrap().extend(json!({"http": plugin}).as_object().unwrap().clone());
    let plugin: Plugin = serde_json::from_value(json!({
        "apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": "origin", "namespace": "test", "uid": "uid"}, "spec": spec,
    }))
    .unwrap();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"namespace": "test", "name": "origin-a", "labels": {
            "kubernetes.io/service-name": "origin", "goforward.dev/plugin": "origin",
        }},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": endpoint.port()}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true},
                       "targetRef": {"kind": "Pod", "name": "origin-1", "uid": "pod"}}],
    }))
    .unwrap();
    let mut index = Index::new(gateway.shared.clone(), "gateway");
    index.apply(Object::Slice(Arc::new(slice)));
    index.apply(Object::Plugin(Arc::new(plugin)));
    index.publish();
    gateway
}

/// A plugin of which every route is guarded.
fn guarded(signer: &Signer) -> Value {
    json!({
        "routes": [{"path": "/"}, {"path": "/*rest"}],
        "middleware": [partners(), people(&[signer])],
    })
}

/// Sends bytes, and gives the statuses of all answers until the gateway closes. What keeps the
/// connection open is told to close it.
async fn statuses(gateway: &Gateway, bytes: &str) -> Vec<u16> {
    let mut client = gateway.client().await;
    client.send(bytes).await;
    let answer = client.rest().await;
    answer.split("HTTP/1.").skip(1).filter_map(|part| part.get(2..5)?.parse().ok()).collect()
}

#[tokio::test]
async fn nothing_of_http_1_gets_past_a_guard() {
    let (endpoint, seen) = watched().await;
    let signer = Signer::new("one");
    let gateway = serve(guarded(&signer), endpoint);
    let token = signer.token(json!({}));
    let line = |line: &str, headers: &str| format!("{line}\r\n{CLOSE}{headers}\r\n");
    let get = |headers: &str| line("GET /admin HTTP/1.1", headers);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut wrong = Vec::new();
    for (what, bytes, expected) in [
        // Paths.
        ("as it is", get(""), 401),
        ("an encoded letter", line("GET /%61dmin HTTP/1.1", ""), 401),
        ("an encoded slash", line("GET /a%2Fadmin HTTP/1.1", ""), 401),
        ("an encoded backslash", line("GET /%5cadmin HTTP/1.1", ""), 401),
        ("encoded twice", line("GET /%2561dmin HTTP/1.1", ""), 401),
        ("no encoding", line("GET /%zz HTTP/1.1", ""), 401),
        ("an encoded end", line("GET /admin%00 HTTP/1.1", ""), 401),
        ("two slashes", line("GET //admin HTTP/1.1", ""), 401),
        ("other case", line("GET /ADMIN HTTP/1.1", ""), 401),
        ("a parameter in the path", line("GET /admin;x=1 HTTP/1.1", ""), 401),
        ("a dot", line("GET /./admin HTTP/1.1", ""), 400),
        ("two dots", line("GET /open/../admin HTTP/1.1", ""), 400),
        ("encoded dots", line("GET /open/%2e%2E/admin HTTP/1.1", ""), 400),
        ("dots encoded twice", line("GET /open/%252e%252e/admin HTTP/1.1", ""), 401),
        ("a host for a path", line("GET admin HTTP/1.1", ""), 401),
        ("an address", line("GET http://a/admin HTTP/1.1", ""), 401),
        ("an address elsewhere", line("GET http://127.0.0.1:1/admin HTTP/1.1", ""), 401),
        ("an address with a user", line("GET http://u:p@a/admin HTTP/1.1", ""), 400),
        ("a fragment", line("GET /admin#x HTTP/1.1", ""), 401),
        // Methods.
        ("HEAD", line("HEAD /admin HTTP/1.1", ""), 401),
        ("OPTIONS", line("OPTIONS /admin HTTP/1.1", ""), 401),
        ("OPTIONS of all", line("OPTIONS * HTTP/1.1", ""), 204),
        ("TRACE", line("TRACE /admin HTTP/1.1", ""), 401),
        ("a method of its own", line("BREW /admin HTTP/1.1", ""), 401),
        ("a method in lower case", line("get /admin HTTP/1.1", ""), 401),
        ("CONNECT", line("CONNECT a:80 HTTP/1.1", ""), 501),
        ("CONNECT to a path", line("CONNECT /admin HTTP/1.1", ""), 501),
        ("PRI", line("PRI /admin HTTP/1.1", ""), 401),
        // Headers that say where or how in another way.
        ("another address in a header", get("X-Original-URL: /open\r\nX-Rewrite-URL: /open\r\n"), 401),
        ("another method in a header", get("X-HTTP-Method-Override: OPTIONS\r\n"), 401),
        (
            "a preflight",
            line("OPTIONS /admin HTTP/1.1", "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n"),
            401,
        ),
        (
            "the gateway's own addresses",
            get("X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n"),
            401,
        ),
        ("a certificate in a header", get("X-Forwarded-Client-Cert: Hash=0\r\n"), 401),
        // Who asks, said in other ways.
        (
            "as whom the gateway knows",
            get(
                "X-Forward-Subject: admin\r\nX-Forward-Permissions: orders:read\r\nX-Forward-Auth-Method: jwt\r\n",
            ),
            401,
        ),
        (
            "the same with underscores",
            get("x_forward_subject: admin\r\nX_FORWARD-PERMISSIONS: orders:read\r\n"),
            401,
        ),
        (
            "a key under another name",
            get(&format!("X_Api_Key: {READER}\r\nX-Api_Key: {READER}\r\nApi-Key: {READER}\r\n")),
            401,
        ),
        ("a key in the query", line(&format!("GET /admin?X-Api-Key={READER} HTTP/1.1"), ""), 401),
        ("a token in the query", line(&format!("GET /admin?access_token={token} HTTP/1.1"), ""), 401),
        ("a key in a cookie", get(&format!("Cookie: X-Api-Key={READER}\r\n")), 401),
        ("a key for a proxy", get(&format!("Proxy-Authorization: Bearer {token}\r\n")), 401),
        (
            "two tokens",
            get(&format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n")),
            400,
        ),
        (
            "a good and a bad token",
            get(&format!("Authorization: Bearer {token}\r\nauthorization: Bearer x\r\n")),
            400,
        ),
        ("two tokens in one line", get(&format!("Authorization: Bearer {token}, Bearer {token}\r\n")), 401),
        (
            "a good key and a bad token",
            get(&format!("X-Api-Key: {READER}\r\nAuthorization: Bearer x\r\n")),
            401,
        ),
        ("a token on two lines", get(&format!("Authorization: Bearer\r\n {token}\r\n")), 400),
        ("a space before the colon", get(&format!("Authorization : Bearer {token}\r\n")), 400),
        ("a zero in the key", get(&format!("X-Api-Key: {READER}\0\r\n")), 400),
        ("a line end in the key", get(&format!("X-Api-Key: guess\rX-Api-Key: {READER}\r\n")), 400),
        (
            "a key in the trailers",
            line(
                "POST /admin HTTP/1.1",
                &format!("{chunked}Trailer: X-Api-Key\r\n\r\n0\r\nX-Api-Key: {READER}\r\n"),
            ),
            401,
        ),
        // Framing.
        (
            "two lengths of one body",
            line("POST /admin HTTP/1.1", &format!("{chunked}Content-Length: 3\r\n\r\n0\r\n")),
            400,
        ),
        ("two lengths", line("POST /admin HTTP/1.1", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        ("an encoding that is none", line("POST /admin HTTP/1.1", "Transfer-Encoding: xchunked\r\n"), 400),
        (
            "a body that is not asked for",
            line("POST /admin HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 9\r\n"),
            401,
        ),
        ("no host", "GET /admin HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("two hosts", get("Host: b\r\n"), 400),
        (
            "another host",
            "GET /admin HTTP/1.1\r\nHost: open.example\r\nConnection: close\r\n\r\n".to_owned(),
            401,
        ),
        ("an old version", "GET /admin HTTP/1.0\r\n\r\n".to_owned(), 401),
        ("the oldest version", "GET /admin\r\n\r\n".to_owned(), 400),
        // Other protocols.
        (
            "a WebSocket",
            get(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n",
            ),
            401,
        ),
        (
            "HTTP/2 by upgrade",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"),
            401,
        ),
        (
            "gRPC-Web",
            line("POST /admin HTTP/1.1", "Content-Type: application/grpc-web\r\nContent-Length: 0\r\n"),
            401,
        ),
    ] {
        let (answered, reached) = (statuses(&gateway, &bytes).await, seen.take());
        if answered != [expected] || !reached.is_empty() {
            wrong.push(format!("{what}: {answered:?}, not {expected}; reached the plugin: {reached:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And the way in is open, whatever the case: else nothing above says anything.
    for headers in [
        format!("x-aPi-kEy: {READER}\r\n"),
        format!("AUTHORIZATION: bEARER {token}\r\n"),
        format!("X-Api-Key: {READER}\r\nConnection: X-Forward-Subject\r\n"),
    ] {
        assert_eq!(statuses(&gateway, &get(&headers)).await, [200], "{headers}");
        let reached = seen.take();
        assert!(value(&reached, "x-forward-subject").is_some(), "{reached}");
        assert!(!reached.contains(READER) && !reached.contains(&token), "{reached}");
    }
}

#[tokio::test]
async fn who_is_known_lets_nobody_else_in() {
    let (endpoint, seen) = watched().await;
    let gateway = serve(guarded(&Signer::new("one")), endpoint);
    let known = format!("X-Api-Key: {READER}\r\n");
    let inner = format!("GET /inner HTTP/1.1\r\n{CLOSE}\r\n");
    // Sent ahead on one connection.
    let ahead = format!("GET /outer HTTP/1.1\r\nHost: a\r\n{known}\r\n{inner}");
    assert_eq!(statuses(&gateway, &ahead).await, [200, 401]);
    let reached = seen.take();
    assert!(reached.contains("/outer") && !reached.contains("/inner"), "{reached}");
    // In the body of a request that is refused, and of one that is not.
    let body = |head: &str| {
        format!("POST /outer HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {}\r\n\r\n{inner}", inner.len())
    };
    assert_eq!(statuses(&gateway, &body("Connection: close\r\n")).await, [401]);
    assert_eq!(seen.take(), "");
    let answered = statuses(&gateway, &format!("{}{inner}", body(&known))).await;
    assert_eq!(answered, [200, 401]);
    assert_eq!(seen.take().matches("x-forward-subject").count(), 1, "the inner one is no request");
    // Trailers are not taken for what the gateway says.
    let trailers = "Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forward-Subject, X-Sum\r\nTE: trailers\r\n";
    let end = "1\r\na\r\n0\r\nX-Forward-Subject: admin\r\nX_Forward_Permissions: all\r\nX-Sum: 1\r\n\r\n";
    statuses(&gateway, &format!("POST /trailers HTTP/1.1\r\nHost: a\r\n{trailers}{known}\r\n{end}")).await;
    let reached = seen.take();
    assert!(
        !reached.contains("admin") && !reached.to_ascii_lowercase().contains("forward_permissions"),
        "{reached}"
    );
}

#[tokio::test]
async fn nothing_of_http_2_gets_past_a_guard() {
    let (endpoint, seen) = watched().await;
    let gateway = serve(guarded(&Signer::new("one")), endpoint);
    let key: (&str, &str) = ("x-api-key", READER);
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/admin"), (":authority", "a")];
    let without = |name: &str| usual.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let changed = |name: &'static str, value: &'static str| [without(name), vec![(name, value)]].concat();
    for (what, list) in [
        ("as it is", usual.to_vec()),
        ("two paths", [usual.as_slice(), &[(":path", "/open")]].concat()),
        ("a path that is none", [changed(":path", "admin"), vec![key]].concat()),
        ("an empty path", [changed(":path", ""), vec![key]].concat()),
        (
            "a path with a line end",
            [changed(":path", "/x HTTP/1.1\r\nx-forward-subject: a"), vec![key]].concat(),
        ),
        ("no path", [without(":path"), vec![key]].concat()),
        ("no method", [without(":method"), vec![key]].concat()),
        ("a method with a space", [changed(":method", "GET /open"), vec![key]].concat()),
        ("another host", [usual.as_slice(), &[("host", "b"), key]].concat()),
        ("a header before the path", [vec![key], usual.to_vec()].concat()),
        ("a name in upper case", [usual.as_slice(), &[("X-Api-Key", READER)]].concat()),
        ("a name with a line end", [usual.as_slice(), &[("x\r\nx-forward-subject", "a"), key]].concat()),
        ("a value with a line end", [usual.as_slice(), &[("x", "a\r\nx-forward-subject: a"), key]].concat()),
        ("a pseudo-header of its own", [usual.as_slice(), &[(":subject", "admin"), key]].concat()),
        ("a key twice", [usual.as_slice(), &[key, key]].concat()),
        ("a header of a connection", [usual.as_slice(), &[("transfer-encoding", "chunked"), key]].concat()),
        (
            "whom the gateway knows",
            [usual.as_slice(), &[("x-forward-subject", "admin"), ("x_forward_subject", "admin")]].concat(),
        ),
        ("CONNECT", [changed(":method", "CONNECT"), vec![key]].concat()),
        ("a WebSocket", [changed(":method", "CONNECT"), vec![(":protocol", "websocket")]].concat()),
        ("TRACE", changed(":method", "TRACE")),
    ] {
        let mut client = gateway.client().await;
        // END_STREAM and END_HEADERS.
        let head = frame(1, 5, 1, &fields(&list));
        client.send([opening(), head].concat()).await;
        assert!(refusal(&mut client).await.is_some(), "{what}");
        assert_eq!(seen.take(), "", "{what}");
    }
    let mut client = gateway.client().await;
    let head = frame(1, 5, 1, &fields(&[usual.as_slice(), &[key]].concat()));
    client.send([opening(), head].concat()).await;
    assert_eq!(refusal(&mut client).await, None, "the way in is open");
    assert!(seen.take().contains("x-forward-subject: acme"));
}

#[tokio::test]
async fn calls_and_tunnels_of_http_2_are_told_in_their_own_way() {
    let (endpoint, seen) = watched().await;
    let gateway = serve(guarded(&Signer::new("one")), endpoint);
    let mut client = Client::connect(&gateway).await;
    let call = |key: &str| {
        let request = Request::post("http://a/shop.Orders/List").header("content-type", "application/grpc");
        request.header("te", "trailers").header("x-api-key", key).body(()).unwrap()
    };
    let answer = client.ask(call("guess"), b"").await.unwrap();
    let said = |name: &str| answer.head.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!((answer.head.status().as_u16(), said("grpc-status")), (200, Some("16")));
    assert_eq!(said("grpc-message"), Some("the key is not known"));
    until(|| client.requests.is_extended_connect_protocol_enabled()).await;
    let mut tunnel = crate::http2::request(Method::CONNECT, "/ws").body(()).unwrap();
    tunnel.extensions_mut().insert(Protocol::from_static("websocket"));
    assert_eq!(client.ask(tunnel, b"").await.unwrap().head.status(), 401);
    assert_eq!(seen.take(), "");
}

#[tokio::test]
async fn who_is_not_known_learns_nothing_of_the_plugin() {
    let (endpoint, seen) = watched().await;
    let plugin = json!({"routes": [{"path": "/orders", "method": "GET"}], "middleware": [partners()]});
    let gateway = serve(plugin, endpoint);
    let known = format!("X-Api-Key: {READER}\r\n");
    let ask = async |line: &str, headers: &str| {
        statuses(&gateway, &format!("{line} HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await
    };
    let forward_gateway::data::snapshot::Match::Route(route) =
        gateway.shared.snapshot.load().find("a", &Method::GET, "/orders")
    else {
        panic!("no route");
    };
    for (what, unhealthy, endpoints) in
        [("well", false, vec![endpoint]), ("unhealthy", true, vec![endpoint]), ("down", false, vec![])]
    {
        route.plugin.set_unhealthy(unhealthy);
        set_endpoints(&route.plugin, &endpoints);
        assert_eq!(ask("GET /orders", "").await, [401], "{what}");
        assert_eq!(ask("HEAD /orders", "").await, [401], "{what}");
        assert_eq!(seen.take(), "", "{what}");
        let expected = if what == "well" { 200 } else { 503 };
        assert_eq!(ask("GET /orders", &known).await, [expected], "{what}");
        seen.take();
    }
    fill(&gateway, &[]);
    assert_eq!(ask("GET /orders", "").await, [401]);
    assert_eq!(ask("GET /orders", &known).await, [503]);
    // What no route is for does not reach a plugin, known or not.
    for (line, expected) in
        [("POST /orders", 405), ("OPTIONS /orders", 204), ("GET /orders/", 404), ("GET /ORDERS", 404)]
    {
        assert_eq!(ask(line, "").await, [expected], "{line}");
    }
    assert_eq!(seen.take(), "");
}

#[tokio::test]
async fn a_page_may_ask_whether_it_may_ask_and_no_more() {
    let (endpoint, seen) = watched().await;
    let pages = json!({"name": "pages", "cors": {"origins": ["https://shop.example"]}});
    let plugin = json!({"routes": [{"path": "/orders"}], "middleware": [partners(), pages]});
    let gateway = serve(plugin, endpoint);
    let ours = "Origin: https://shop.example\r\n";
    let asks = "Access-Control-Request-Method: GET\r\n";
    for (method, headers, expected) in [
        ("OPTIONS", format!("{ours}{asks}"), 204),
        ("OPTIONS", format!("Origin: https://other.example\r\n{asks}"), 403),
        ("OPTIONS", ours.to_owned(), 401),
        ("OPTIONS", asks.to_owned(), 401),
        ("GET", format!("{ours}{asks}"), 401),
    ] {
        let answered =
            statuses(&gateway, &format!("{method} /orders HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await;
        assert_eq!((answered, seen.take()), (vec![expected], String::new()), "{method} {headers}");
    }
    let refused = gateway.ask(&format!("GET /orders HTTP/1.1\r\n{CLOSE}{ours}\r\n")).await;
    assert_eq!(value(&refused, "access-control-allow-origin"), Some("https://shop.example"));
}

#[tokio::test]
async fn an_open_route_is_no_way_to_a_guarded_one() {
    let (endpoint, seen) = watched().await;
    let only = |mut entry: Value| {
        entry["routes"] = json!([{"path": "/admin"}, {"path": "/admin/*rest"}]);
        entry
    };
    let plugin = json!({
        "routes": [{"path": "/admin"}, {"path": "/admin/*rest"}, {"path": "/"}, {"path": "/*rest"}],
        "middleware": [only(partners()), only(json!({"name": "admins", "permissions": {"require": ["admin"]}}))],
    });
    let gateway = serve(plugin, endpoint);
    let known = format!("X-Api-Key: {READER}\r\n");
    for (path, headers, expected) in [
        ("/admin", "", 401),
        ("/admin?x", "", 401),
        ("/admin/users", "", 401),
        ("/admin", &*known, 403),
        ("/%61dmin", "", 400),
        ("/admi%6E/users", "", 400),
        ("/%2561dmin", "", 400),
        ("//admin", "", 400),
        ("/x//admin", "", 400),
        ("/x/%2e%2e/admin", "", 400),
        ("/x/..%2fadmin", "", 400),
        ("/x%2f..%2fadmin", "", 400),
        ("/x\\..\\admin", "", 400),
        ("/x%5c..%5cadmin", "", 400),
        ("/admin;x=1", "", 400),
        ("/admin%3bx", "", 400),
        ("/admin%00", "", 400),
        ("/admin%2f", "", 400),
        ("/%", "", 400),
        ("/open", "", 200),
        ("/caf%C3%A9?to=%2Fadmin//", "", 200),
    ] {
        let answered = statuses(&gateway, &format!("GET {path} HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await;
        assert_eq!(answered, [expected], "{path} {headers}");
        assert_eq!(seen.take().is_empty(), expected != 200, "{path} {headers}");
    }
}

#[tokio::test]
async fn a_body_that_is_judged_is_not_let_in_by_another_spelling_of_its_path() {
    let body = json!({"schema": {"type": "object"}});
    let judge = json!({"name": "orders", "routes": [{"path": "/orders", "method": "POST"}], "validate": {"body": body}});
    let office = json!({"name": "office", "routes": [{"path": "/orders", "method": "POST"}], "ipFilter": {"allow": ["10.0.0.0/8"]}});
    for (entry, refused) in [(judge, 422), (office, 403)] {
        let (endpoint, seen) = watched().await;
        let plugin = json!({
            "routes": [{"path": "/orders", "method": "POST"}, {"path": "/*rest"}], "middleware": [entry],
        });
        let gateway = serve(plugin, endpoint);
        for (path, expected) in [
            ("/orders", refused),
            ("/%6frders", 400),
            ("//orders", 400),
            ("/orders;x=1", 400),
            ("/x%2f..%2forders", 400),
            ("/other", 200),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\n{CLOSE}Content-Type: application/json\r\n");
            let answered = statuses(&gateway, &format!("{head}Content-Length: 1\r\n\r\n1")).await;
            assert_eq!(answered, [expected], "{path}");
            assert_eq!(seen.take().is_empty(), expected != 200, "{path}");
        }
    }
}
