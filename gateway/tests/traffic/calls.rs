//! Calls of gRPC, between tonic's client and tonic's server.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use forward_gateway::data::worker::Settings;
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::Grpc,
    codegen::{BoxFuture, Service},
    server::{self, NamedService},
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use crate::harness::*;

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// A plugin that speaks gRPC. Messages are single strings.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(Say, request).await,
                "/test.Echo/Chat" => grpc.streaming(Chat, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Say;

impl server::UnaryService<String> for Say {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(async move {
            let host = request.metadata().get("x-forwarded-host").cloned();
            match request.into_inner().as_str() {
                "fail" => Err(Status::failed_precondition("as asked: 100%")),
                "hang" => std::future::pending().await,
                said => Ok(Response::new(format!("{said} at {host:?}"))),
            }
        })
    }
}

struct Chat;

impl server::StreamingService<String> for Chat {
    type Response = String;
    type ResponseStream = Texts;
    type Future = BoxFuture<Response<Texts>, Status>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let answers = request.into_inner().map(|said| match said?.as_str() {
            "fail" => Err(Status::aborted("as asked")),
            said => Ok(format!("echo {said}")),
        });
        Box::pin(async move { Ok(Response::new(Box::pin(answers) as Texts)) })
    }
}

async fn plugin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(Echo).serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A plugin that takes calls and never answers. What comes of them: whether they were broken off.
async fn mute() -> (SocketAddr, watch::Receiver<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (resets, count) = watch::channel(0);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let resets = resets.clone();
            tokio::spawn(async move {
                let _request = request;
                std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                resets.send_modify(|count| *count += 1);
            });
        }
    });
    (address, count)
}

/// A plugin that takes one call, answers it with a head and leaves the rest to `answer`: it keeps no
/// deadlines itself.
async fn raw<F>(answer: impl FnOnce(h2::SendStream<bytes::Bytes>) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        tokio::spawn(answer(respond.send_response(head, false).unwrap()));
        while connection.accept().await.is_some() {}
    });
    address
}

async fn client(gateway: &Gateway) -> Grpc<Channel> {
    let channel = Channel::from_shared(format!("http://{}", gateway.address)).unwrap();
    let mut client = Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

async fn say(client: &mut Grpc<Channel>, request: Request<String>) -> Result<Response<String>, Status> {
    call(client, request, "/test.Echo/Say").await
}

async fn call(
    client: &mut Grpc<Channel>,
    request: Request<String>,
    path: &'static str,
) -> Result<Response<String>, Status> {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    timeout(PATIENCE, client.unary(request, path, ProstCodec::default())).await.unwrap()
}

async fn chat(
    client: &mut Grpc<Channel>,
    request: Request<impl Stream<Item = String> + Send + 'static>,
) -> Result<Response<Streaming<String>>, Status> {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Chat");
    timeout(PATIENCE, client.streaming(request, path, ProstCodec::default())).await.unwrap()
}

#[tokio::test]
async fn carries_calls_and_their_outcome() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("echo", &["POST /test.Echo/:method"], &[plugin().await]);
    let mut client = client(&gateway).await;
    let said = say(&mut client, Request::new("hello".to_owned())).await.unwrap();
    assert!(said.get_ref().starts_with("hello at Some(\"127.0.0.1:"), "{said:?}");
    assert!(said.metadata().contains_key("x-request-id"));
    let failed = say(&mut client, Request::new("fail".to_owned())).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::FailedPrecondition, "as asked: 100%"));
    until(|| totals(&plugin).in_flight == 0).await;
    assert_eq!(plugin.endpoints()[0].in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn carries_streams_message_by_message() {
    let gateway = Gateway::new();
    gateway.plugin("echo", &["POST /test.Echo/:method"], &[plugin().await]);
    let mut client = client(&gateway).await;
    let (sender, messages) = futures::channel::mpsc::unbounded();
    let mut answers = chat(&mut client, Request::new(messages)).await.unwrap().into_inner();
    for text in ["one", "two"] {
        sender.unbounded_send(text.to_owned()).unwrap();
        let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap();
        assert_eq!(answer, Some(format!("echo {text}")));
    }
    sender.unbounded_send("fail".to_owned()).unwrap();
    let failed = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::Aborted, "as asked"));
}

#[tokio::test]
async fn many_calls_share_a_connection_and_more_get_another() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("echo", &["POST /test.Echo/:method"], &[plugin().await]);
    let client = client(&gateway).await;
    let hanging = (0..120).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { say(&mut client, Request::new("hang".to_owned())).await })
    });
    let hanging = hanging.collect::<Vec<_>>();
    until(|| totals(&plugin).in_flight == 120).await;
    let mut another = client.clone();
    assert!(say(&mut another, Request::new("hello".to_owned())).await.is_ok());
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| totals(&plugin).in_flight == 0).await;
}

#[tokio::test]
async fn ends_calls_at_their_deadline_and_not_at_the_gateways_limit() {
    let settings = Settings { upstream_timeout: Duration::from_millis(1_500), ..Settings::default() };
    let gateway = Gateway::with(settings);
    let (mute, resets) = mute().await;
    gateway.plugin("mute", &["POST /test.Echo/:method"], &[mute]);
    let raw = |limit: Option<&str>| {
        let mut request = crate::http2::request(http::Method::POST, "/test.Echo/Say")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        request = limit.iter().fold(request, |request, limit| request.header("grpc-timeout", *limit));
        request.body(()).unwrap()
    };
    let mut client = crate::http2::Client::connect(&gateway).await;
    for (limit, least, most) in
        [(None, 1_500, 20_000), (Some("100m"), 100, 1_500), (Some("2S"), 2_000, 20_000)]
    {
        let begun = std::time::Instant::now();
        let answer = client.ask(raw(limit), b"\0\0\0\0\0").await.unwrap();
        let took = begun.elapsed().as_millis();
        assert_eq!(answer.head.headers()["grpc-status"], "4", "{limit:?}");
        assert!((least..most).contains(&took), "{limit:?}: {took}");
    }
    until(|| *resets.borrow() == 3).await;
    let answer = client.ask(raw(Some("soon")), b"\0\0\0\0\0").await.unwrap();
    assert_eq!(answer.head.headers()["grpc-status"], "13");
}

#[tokio::test]
async fn ends_a_call_at_its_deadline_while_it_is_still_being_sent() {
    let gateway = Gateway::new();
    let (mute, resets) = mute().await;
    gateway.plugin("mute", &["POST /test.Echo/:method"], &[mute]);
    let mut client = crate::http2::Client::connect(&gateway).await;
    let request = crate::http2::request(http::Method::POST, "/test.Echo/Chat")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "500m")
        .body(());
    let (answer, mut stream) = client.requests.send_request(request.unwrap(), false).unwrap();
    let sending = async {
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        loop {
            interval.tick().await;
            if stream.send_data(bytes::Bytes::from_static(b"\0\0\0\0\0"), false).is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    let answer = tokio::select! {
        answer = timeout(PATIENCE, answer) => answer.unwrap().unwrap(),
        () = sending => unreachable!("it never ends"),
    };
    assert_eq!(answer.headers()["grpc-status"], "4");
    until(|| *resets.borrow() == 1).await;
}

#[tokio::test]
async fn ends_streams_at_their_deadline_with_a_status() {
    let gateway = Gateway::new();
    let (reset, is_reset) = watch::channel(false);
    let address = raw(|mut body| async move {
        std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
        reset.send_replace(true);
    });
    let plugin = gateway.plugin("mute", &["POST /test.Echo/:method"], &[address.await]);
    let mut client = client(&gateway).await;
    let mut request = Request::new(stream::pending());
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut answers = chat(&mut client, request).await.unwrap().into_inner();
    let failed = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::DeadlineExceeded, "the deadline is over"));
    until(|| *is_reset.borrow()).await;
    assert_eq!(totals(&plugin).errors[5], 1);
}

#[tokio::test]
async fn says_in_grpc_what_the_gateway_has_to_say() {
    let gateway = Gateway::new();
    gateway.plugin("echo", &["POST /test.Echo/:method", "POST /*rest"], &[nobody()]);
    gateway.plugin("get", &["GET /test.Get/Only"], &[plugin().await]);
    gateway.plugin("none", &["POST /test.None/:method"], &[]);
    let mut client = client(&gateway).await;
    for (path, code) in [
        ("/test.Echo/Say", Code::Unavailable),
        ("/test.None/Say", Code::Unavailable),
        ("/goforward.plugin.v1.Plugin/Describe", Code::Unimplemented),
        ("/grpc.health.v1.Health/Check", Code::Unimplemented),
    ] {
        let failed = call(&mut client, Request::new(String::new()), path).await.unwrap_err();
        assert_eq!(failed.code(), code, "{path}: {failed:?}");
        assert!(failed.message().contains("plugin"), "{failed:?}");
        assert!(failed.metadata().contains_key("x-request-id"));
    }
    let gateway = Gateway::new();
    gateway.plugin("get", &["GET /test.Get/Only"], &[plugin().await]);
    let mut client = self::client(&gateway).await;
    for path in ["/test.Get/Only", "/test.Echo/Say"] {
        let failed = call(&mut client, Request::new(String::new()), path).await.unwrap_err();
        assert_eq!(failed.code(), Code::Unimplemented, "{path}: {failed:?}");
    }
}

#[tokio::test]
async fn the_services_of_the_contract_are_reached_by_no_other_way() {
    let gateway = Gateway::new();
    let plugin = gateway.plugin("any", &["* /*rest"], &[mirror().await]);
    for path in [
        "/goforward.plugin.v1.Middleware/OnRequest",
        "/%67oforward.plugin.v1.Plugin/Describe",
        "//grpc.health.v1.Health/Check",
    ] {
        for media in ["application/grpc", "application/json"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0"
            );
            assert_eq!(status(&gateway.ask(&request).await), 404, "{path} as {media}");
        }
    }
    assert_eq!(at_pods(&plugin), 0);
    assert_eq!(status(&gateway.get("/goforward").await), 200, "it is not the plugin's route that is missing");
}

#[tokio::test]
async fn ends_a_stream_that_breaks_with_a_status() {
    let gateway = Gateway::new();
    let address = raw(|mut body| async move {
        std::future::poll_fn(|cx| {
            body.reserve_capacity(9);
            body.poll_capacity(cx)
        })
        .await;
        body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\x04\x0a\x02hi"), false).unwrap();
        body.send_reset(h2::Reason::CANCEL);
    });
    let plugin = gateway.plugin("brittle", &["POST /test.Echo/:method"], &[address.await]);
    let mut client = client(&gateway).await;
    let mut answers = chat(&mut client, Request::new(stream::pending())).await.unwrap().into_inner();
    let breaking = async {
        loop {
            if let Err(failed) = answers.message().await {
                return failed;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, breaking).await.unwrap().code(), Code::Unavailable);
    assert_eq!(totals(&plugin).errors[3], 1);
}

#[tokio::test]
async fn says_of_a_call_that_it_is_larger_than_it_may_be() {
    let gateway = Gateway::new();
    let small = chain(serde_json::json!([{"name": "small", "bodyLimit": {"maxBytes": 20}}]));
    gateway.plugin_with("echo", &["POST /test.Echo/:method"], &[plugin().await], Some(small));
    let mut client = client(&gateway).await;
    assert!(say(&mut client, Request::new("hello".to_owned())).await.is_ok());
    let failed = say(&mut client, Request::new("x".repeat(100))).await.unwrap_err();
    assert_eq!(failed.code(), Code::ResourceExhausted, "{failed:?}");
}
