//! Clients that speak HTTP/2, in the clear and with prior knowledge.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use forward_gateway::data::worker::Settings;
use h2::{Reason, client::SendRequest};
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Builder};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use crate::{bodies, harness::*};

/// A connection of HTTP/2 as a client has it.
pub struct Client {
    pub requests: SendRequest<Bytes>,
    pub over: JoinHandle<Result<(), h2::Error>>,
}

/// An answer that has come whole.
#[derive(Debug)]
pub struct Whole {
    pub head: Response<()>,
    pub body: String,
    pub trailers: HeaderMap,
}

impl Client {
    pub async fn connect(gateway: &Gateway) -> Self {
        Self::over(Peer::connect(gateway.address).await.stream).await
    }

    pub async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        Self { requests, over: tokio::spawn(connection) }
    }

    pub async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Whole, h2::Error> {
        timeout(PATIENCE, self.try_ask(request, body)).await.unwrap()
    }

    async fn try_ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Whole, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut stream) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        whole(answer.await?).await
    }

    /// Wait until the gateway ends the connection.
    pub async fn end(self) -> Result<(), h2::Error> {
        // Held until then: without it the client itself would end the connection.
        let Self { requests: _held, over } = self;
        timeout(PATIENCE, over).await.unwrap().unwrap()
    }
}

pub async fn whole(answer: Response<h2::RecvStream>) -> Result<Whole, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let body = String::from_utf8(body).unwrap();
    Ok(Whole { head: Response::from_parts(head, ()), body, trailers })
}

pub fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("http://a.example{path}"))
}

pub fn get(path: &str) -> Request<()> {
    request(Method::GET, path).body(()).unwrap()
}

/// A plugin that answers with what it got up to this end, as it came.
async fn until_end(end: &'static str) -> std::net::SocketAddr {
    origin(move |mut peer| async move {
        let seen = peer.until(end).await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len())).await;
        peer.rest().await;
    })
    .await
}

#[tokio::test]
async fn becomes_a_request_of_http_1() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = Client::connect(&gateway).await;
    let request = request(Method::GET, "/x?y=z")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("host", "A.example")
        .body(());
    let answer = client.ask(request.unwrap(), b"").await.unwrap();
    assert_eq!(answer.head.status(), StatusCode::OK);
    assert!(answer.head.headers().contains_key("x-request-id"));
    let seen = answer.body.as_str();
    assert!(seen.starts_with("GET /x?y=z HTTP/1.1\r\n"), "{seen}");
    assert_eq!(value(seen, "host"), Some("a.example"));
    assert_eq!(value(seen, "cookie"), Some("a=1; b=2"));
    assert_eq!((value(seen, "te"), value(seen, "connection")), (Some("trailers"), Some("te")));
    assert_eq!(value(seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(value(seen, "x-forwarded-proto"), Some("http"));
    assert_eq!(value(seen, "transfer-encoding"), None);
}

#[tokio::test]
async fn gives_bodies_an_end() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = Client::connect(&gateway).await;
    let sized = request(Method::POST, "/x").header("content-length", "3").body(()).unwrap();
    let seen = client.ask(sized, b"abc").await.unwrap().body;
    assert!(seen.ends_with("\r\n\r\nabc") && value(&seen, "transfer-encoding").is_none(), "{seen}");
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let gateway = Gateway::new();
        gateway.to(until_end("\r\n0\r\n\r\n").await);
        let mut client = Client::connect(&gateway).await;
        let unsized_body = request(method.clone(), "/x").body(()).unwrap();
        let seen = client.ask(unsized_body, b"abc").await.unwrap().body;
        assert_eq!(value(&seen, "transfer-encoding"), Some("chunked"), "{method}");
        assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn answers_requests_side_by_side() {
    let gateway = Gateway::new();
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let plugin = origin(move |mut peer| {
        let released = released.clone();
        async move {
            if peer.head().await.starts_with("GET /slow") {
                released.notified().await;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            peer.rest().await;
        }
    });
    gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let (slow, _) = client.requests.send_request(get("/slow"), true).unwrap();
    assert_eq!(client.ask(get("/quick"), b"").await.unwrap().body, "ok");
    release.notify_one();
    assert_eq!(whole(slow.await.unwrap()).await.unwrap().body, "ok");
}

#[tokio::test]
async fn streams_what_is_larger_than_any_window() {
    const LENGTH: usize = 3 * 1024 * 1024;
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        let body = peer.exact(LENGTH).await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{body}")).await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let request = request(Method::PUT, "/x").header("content-length", LENGTH).body(()).unwrap();
    let answer = client.ask(request, "x".repeat(LENGTH).as_bytes()).await.unwrap();
    assert!(answer.body.len() == LENGTH && answer.body.bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn passes_trailers_both_ways() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        let body = peer.until("sum: 1\r\n\r\n").await;
        assert!(body.ends_with("0\r\nsum: 1\r\n\r\n"), "{head}{body}");
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: end\r\n\r\n2\r\nok\r\n0\r\nend: 2\r\n\r\n").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let request =
        request(Method::POST, "/x").header("te", "trailers").header("trailer", "sum").body(()).unwrap();
    let (answer, mut stream) = client.requests.send_request(request, false).unwrap();
    stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
    stream.send_trailers(HeaderMap::from_iter([("sum".parse().unwrap(), "1".parse().unwrap())])).unwrap();
    let answer = timeout(PATIENCE, async { whole(answer.await?).await }).await.unwrap().unwrap();
    assert_eq!((answer.body.as_str(), &answer.trailers["end"]), ("ok", &"2".parse().unwrap()));
    assert!(!answer.head.headers().contains_key("transfer-encoding"));
}

#[tokio::test]
async fn keeps_the_length_that_an_answer_to_head_names() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n").await;
        peer.rest().await;
    });
    gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let answer = client.ask(request(Method::HEAD, "/x").body(()).unwrap(), b"").await.unwrap();
    assert_eq!((answer.head.headers()["content-length"].to_str().unwrap(), answer.body.as_str()), ("42", ""));
}

#[tokio::test]
async fn says_that_an_answer_broke_off() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\nhalf").await;
    });
    gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let error = client.ask(get("/x"), b"").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(client.ask(get("/x"), b"").await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn breaks_off_at_the_plugin_what_a_client_resets() {
    let gateway = Gateway::new();
    let (gone, is_gone) = tokio::sync::watch::channel(false);
    let plugin = origin(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.rest().await;
            gone.send_replace(true);
        }
    });
    let plugin = gateway.to(plugin.await);
    let mut client = Client::connect(&gateway).await;
    let (_, mut stream) = client.requests.send_request(get("/x"), true).unwrap();
    until(|| totals(&plugin).in_flight == 1).await;
    stream.send_reset(Reason::CANCEL);
    until(|| *is_gone.borrow() && totals(&plugin).in_flight == 0).await;
}

#[tokio::test]
async fn closes_the_connection_of_who_breaks_off_what_it_asks_for() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.rest().await;
    });
    let plugin = gateway.to(plugin.await);
    let client = Client::connect(&gateway).await;
    let abuse = async {
        loop {
            let Ok(mut requests) = client.requests.clone().ready().await else { return };
            let Ok((_, mut stream)) = requests.send_request(get("/x"), true) else { return };
            until(|| totals(&plugin).in_flight == 1 || client.over.is_finished()).await;
            stream.send_reset(Reason::CANCEL);
            until(|| totals(&plugin).in_flight == 0 || client.over.is_finished()).await;
        }
    };
    timeout(PATIENCE, abuse).await.unwrap();
    assert!(totals(&plugin).errors[6] >= 500, "{:?}", totals(&plugin));
}

#[tokio::test]
async fn sends_clients_elsewhere_while_it_drains() {
    let gateway = Gateway::new();
    gateway.to(mirror().await);
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask(get("/x"), b"").await.unwrap().head.status(), StatusCode::OK);
    gateway.shared.drain();
    let answer = client.ask(get("/x"), b"").await.unwrap();
    assert_eq!(answer.head.status(), StatusCode::OK);
    assert!(!answer.head.headers().contains_key("connection"));
    client.end().await.unwrap();
    let mut other = Client::connect(&gateway).await;
    assert_eq!(other.ask(get("/x"), b"").await.unwrap().head.status(), StatusCode::OK);
}

#[tokio::test]
async fn ends_requests_that_are_under_way_before_it_stops() {
    let mut gateway = Gateway::new();
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let plugin = origin(move |mut peer| {
        let released = released.clone();
        async move {
            peer.head().await;
            released.notified().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
            peer.rest().await;
        }
    });
    let plugin = gateway.to(plugin.await);
    let idle = Client::connect(&gateway).await;
    let mut busy = Client::connect(&gateway).await;
    let (answer, _) = busy.requests.send_request(get("/x"), true).unwrap();
    until(|| totals(&plugin).in_flight == 1).await;
    let stopping = tokio::spawn(async move { gateway.stop().await });
    idle.end().await.unwrap();
    release.notify_one();
    assert_eq!(whole(answer.await.unwrap()).await.unwrap().body, "done");
    busy.end().await.unwrap();
    stopping.await.unwrap();
}

#[tokio::test]
async fn closes_the_connection_of_who_takes_nothing_of_an_answer() {
    let gateway = Gateway::with(Settings {
        head_timeout: Duration::from_millis(200),
        send_timeout: Duration::from_secs(1),
        ..Settings::default()
    });
    let plugin = gateway.to(bodies::endless().await);
    let mut client = Client::connect(&gateway).await;
    let (answer, _stream) = client.requests.send_request(get("/x"), true).unwrap();
    // Its windows are never opened again.
    let _held = answer.await.unwrap();
    drop(client.end().await);
    until(|| totals(&plugin).in_flight == 0).await;
}

#[tokio::test]
async fn closes_connections_that_are_idle_but_not_those_that_wait() {
    let settings = Settings {
        head_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let gateway = Gateway::with(settings);
    let plugin = origin(|mut peer| async move {
        peer.head().await;
        peer.rest().await;
    });
    let plugin = gateway.to(plugin.await);
    let mut waiting = Client::connect(&gateway).await;
    let (_answer, _stream) = waiting.requests.send_request(get("/x"), true).unwrap();
    until(|| totals(&plugin).in_flight == 1).await;
    // It may end with an error: nothing is owed to who is silent.
    drop(Client::connect(&gateway).await.end().await);
    assert!(!waiting.over.is_finished());
}
