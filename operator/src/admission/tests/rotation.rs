use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::admission::{
    certificate::{self, Data},
    serve,
};

const HOST: &str = "webhook.forward-system.svc";
const CLIENTS: usize = 4;
const ROTATIONS: usize = 6;

/// Who calls, and trusts these authorities.
fn connector(data: &Data) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(&data["ca.crt"].0) {
        roots.add(found.unwrap()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// A connection, and the certificate that it was made with.
async fn connect(
    connector: &TlsConnector,
    to: SocketAddr,
) -> (SendRequest<Full<Bytes>>, CertificateDer<'static>) {
    let stream = TcpStream::connect(to).await.unwrap();
    let stream = connector.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
    let served = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (sender, served)
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>) {
    let review = review("CREATE", plugin("checkout", needs("inventory", "^1")), Value::Null);
    let body = Full::from(serde_json::to_vec(&review).unwrap());
    let request = Request::post("/validate").header("host", HOST).body(body).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["response"]["warnings"].as_array().unwrap().len(), 1);
}

/// Asks over a connection that is kept and over new ones, before and after each rotation.
async fn client(data: Data, to: SocketAddr, barrier: Arc<Barrier>) {
    let connector = connector(&data);
    let (mut kept, _) = connect(&connector, to).await;
    for _ in 0..ROTATIONS {
        barrier.wait().await;
        for _ in 0..20 {
            ask(&mut kept).await;
            ask(&mut connect(&connector, to).await.0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn certificates_and_authorities_change_while_requests_run_and_none_fails() {
    let now = Timestamp::now();
    let first = certificate::with_authority(&Data::new(), now).unwrap();
    let old = certificate::with_certificate(&first, HOST, now).unwrap();
    // The second authority is trusted before it signs.
    let both = certificate::with_authority(&old, now).unwrap();
    let (sender, certificate) = watch::channel(None);
    let serves = |data: &Data| sender.send_replace(certificate::load(data).unwrap().map(Arc::new));
    serves(&old);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let config = serve::config(certificate).unwrap();
    let server =
        tokio::spawn(serve::run(listener, config, serve::router(reviewer(&[]), confirmer(&[]).0), stopped));

    let barrier = Arc::new(Barrier::new(CLIENTS + 1));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(both.clone(), to, barrier.clone()));
    }
    let mut newest = old;
    for _ in 0..ROTATIONS {
        // All ask at the moment at which the certificate changes.
        barrier.wait().await;
        newest = certificate::with_certificate(&both, HOST, now).unwrap();
        serves(&newest);
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let (_, served) = connect(&connector(&both), to).await;
    assert_eq!(served, CertificateDer::from_pem_slice(&newest["tls.crt"].0).unwrap());
    stop.send_replace(true);
    timeout(Duration::from_secs(10), server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn no_handshake_succeeds_without_a_certificate() {
    let data = certificate::with_authority(&Data::new(), Timestamp::now()).unwrap();
    let (_sender, certificate) = watch::channel(None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let config = serve::config(certificate).unwrap();
    tokio::spawn(serve::run(listener, config, serve::router(reviewer(&[]), confirmer(&[]).0), stopped));
    let stream = TcpStream::connect(to).await.unwrap();
    let tried = connector(&data).connect(ServerName::try_from(HOST).unwrap(), stream).await;
    assert!(tried.is_err());
}
