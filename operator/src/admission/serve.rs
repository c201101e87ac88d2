//! The port that reviews come in at: HTTP over TLS, bounded in connections, sizes and times.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Certificate, Confirmer, Reviewer,
    review::{self, Judgement},
};

/// How many bytes a review may have. The API server takes requests of at most 3 MiB, and a review of
/// an update holds the object twice: what is larger is not reviewed.
const BODY: usize = 3 << 20;
/// How long an answer may take, the body included: less than the API server waits.
const ANSWER: Duration = Duration::from_secs(4);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may be silent: more than the 90 seconds after which the API server closes
/// one itself, so that no review meets a connection that is just being closed.
const SILENCE: Duration = Duration::from_secs(120);
/// How many connections there may be.
const CONNECTIONS: usize = 256;
/// How long connections may take to end when the operator stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves whatever certificate there is at the moment. A connection keeps the one it began with.
#[derive(Debug)]
struct Current(watch::Receiver<Certificate>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

/// How TLS is spoken.
pub fn config(certificate: watch::Receiver<Certificate>) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?;
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Current(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is answered.
pub fn router(reviewer: Reviewer, confirmer: Confirmer) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .with_state((reviewer, confirmer))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn(in_time))
}

async fn validate(State((reviewer, confirmer)): State<(Reviewer, Confirmer)>, body: Bytes) -> Response {
    let (request, response) = match review::read(&body) {
        Ok(read) => read,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let judgement = match reviewer.judge(request) {
        Judgement::Foreseen(foreseen) => confirmer.confirm(&reviewer, foreseen).await,
        judgement => judgement,
    };
    Json(reviewer.respond(response, judgement)).into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the review took too long\n").into_response(),
    }
}

/// Accept connections until `stop` turns true, then let those that are open come to an end.
pub async fn run(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let acceptor = TlsAcceptor::from(config);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
    let stopped = async move {
        // An error means that the sender is gone, which is a stop too.
        stop.wait_for(|stop| *stop).await.ok();
    };
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(connection(stream, acceptor, router, connections.watcher(), permit));
            }
            Err(error) => {
                // Most of all: no file descriptor is left. The next attempt waits for one.
                tracing::warn!(%error, "a webhook connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if timeout(FAREWELL, connections.shutdown()).await.is_err() {
        tracing::debug!("webhook connections were cut");
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
    permit: OwnedSemaphorePermit,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS handshake"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(SILENCE);
    let service = TowerToHyperService::new(router);
    let served = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    if let Err(error) = served.await {
        tracing::debug!(error, "a webhook connection ended");
    }
    drop(permit);
}
