//! Clients that speak HTTP/1.1.

use std::rc::Rc;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    accept::{MAX_HEAD, Open, drive},
    guard::{Guard, Watch},
    request::handle,
    secure::Client,
    tap::Tap,
    worker::Worker,
};

/// Answer the requests of a connection.
pub async fn serve<S>(worker: Rc<Worker>, stream: S, client: Client, open: Open)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let watch = Watch::new(worker.clock.now());
    let service = {
        let (worker, watch) = (worker.clone(), watch.clone());
        service_fn(move |mut request| {
            client.mark(&mut request);
            handle(worker.clone(), watch.clone(), client.address.ip(), request)
        })
    };
    let connection = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(TokioIo::new(Tap { stream, ear: Guard::new(watch.clone()) }), service)
        .with_upgrades();
    drive(&worker, &watch, open, connection, |connection| connection.graceful_shutdown()).await;
}
