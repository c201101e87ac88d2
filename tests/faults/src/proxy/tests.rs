use std::sync::atomic::AtomicUsize;

use http_body_util::Empty;
use kube::Config;

use super::*;
use crate::plan::{Rule, Target};

const STATUS: &str = "/apis/goforward.dev/v1alpha1/namespaces/shop/plugins/cart/status";

/// An API server that answers everything with the number of requests that it has had.
async fn upstream() -> (Client, Arc<AtomicUsize>) {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let had = Arc::<AtomicUsize>::default();
    let counted = had.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let had = counted.clone();
            let service = service_fn(move |_| {
                let number = had.fetch_add(1, Ordering::SeqCst) + 1;
                async move { Ok::<_, Lost>(Response::new(format!("answer {number}\n"))) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap(), had)
}

/// A proxy in front of it, which counts what it is told.
async fn proxy(plan: Plan) -> (Proxy, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (client, had) = upstream().await;
    let kills = Arc::<AtomicUsize>::default();
    let counted = kills.clone();
    let hooks = Hooks {
        before_write: Box::new(|_| Box::pin(async {})),
        kill: Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {})
        }),
    };
    let proxy = Proxy::start(client, hooks).await.unwrap();
    proxy.follow(plan);
    (proxy, had, kills)
}

fn always(on: Target, what: Fault) -> Plan {
    Plan { calls: vec![Rule { on, percent: 100, times: usize::MAX, what }], ..Plan::default() }
}

/// One request on a connection of its own: its status, and what of its body came. Nothing where the
/// connection ended before that.
async fn ask(proxy: &Proxy, method: &str, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, "proxy");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn passes_on_and_notes() {
    let (proxy, _, _) = proxy(Plan::default()).await;
    assert_eq!(ask(&proxy, "PATCH", STATUS).await, Some((200, "answer 1\n".to_owned())));
    assert_eq!(ask(&proxy, "GET", "/api/v1/pods?watch=true").await, Some((200, "answer 2\n".to_owned())));
    let calls: Vec<_> = proxy.log().iter().map(|entry| (entry.call.to_string(), entry.status)).collect();
    assert_eq!(
        calls,
        [("patch plugins/status cart".to_owned(), Some(200)), ("watch pods ".to_owned(), Some(200))]
    );
    assert_eq!(proxy.steps(0).len(), 1);
}

#[tokio::test]
async fn what_is_refused_does_not_reach_the_api_server() {
    let (proxy, had, _) =
        proxy(always(Target::Kind("plugins", "status"), Fault::Refuse { code: 409, retry_after: None }))
            .await;
    let (status, body) = ask(&proxy, "PATCH", STATUS).await.unwrap();
    assert!(status == 409 && body.contains("\"reason\":\"Conflict\""), "{status} {body}");
    assert_eq!(had.load(Ordering::SeqCst), 0);
    assert!(
        ask(&proxy, "GET", "/api/v1/namespaces/shop/pods/a").await.is_some_and(|(status, _)| status == 200)
    );
}

#[tokio::test]
async fn what_is_lost_was_carried_out() {
    for fault in [Fault::Lose, Fault::Cut] {
        let (proxy, had, _) = proxy(always(Target::Writes, fault)).await;
        assert_eq!(ask(&proxy, "PATCH", STATUS).await, None, "{fault:?}");
        assert_eq!(had.load(Ordering::SeqCst), 1, "{fault:?}");
        assert_eq!(proxy.steps(0).len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn the_one_who_asks_dies_after_its_write_and_writes_no_more() {
    let (proxy, had, kills) = proxy(Plan { kill_every: Some(2), ..Plan::default() }).await;
    assert!(ask(&proxy, "PATCH", STATUS).await.is_some());
    // The second one and those behind it are of the one that dies.
    let writes = (0..3).map(|_| ask(&proxy, "PATCH", STATUS));
    assert!(futures::future::join_all(writes).await.iter().all(Option::is_none));
    assert_eq!((had.load(Ordering::SeqCst), kills.load(Ordering::SeqCst)), (2, 1));
    assert!(ask(&proxy, "PATCH", STATUS).await.is_some(), "the next one begins anew");
}
