//! Clients that speak HTTP/1.1.
//!
//! What the HTTP library keeps of a connection, its buffers above all, takes ten times the room of the
//! rest. So a connection is dormant once it has been quiet for a while: the library has ended with it, and
//! begins anew with the next byte that comes.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use futures::FutureExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    accept::{Course, Halt, MAX_HEAD, Open, drive},
    clock::{SECOND, Tick, ticks},
    guard::{Guard, Watch},
    request::handle,
    secure::Client,
    tap::Tap,
    worker::{Shared, Worker},
};

/// After how long without a request a connection is dormant.
const PATIENCE: Tick = SECOND;

/// A connection that can be asked for more without room for it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Ready when there is something to read, be it the end, or an error.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Stream for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

impl Stream for TlsStream<TcpStream> {
    /// Only where all has been read before: what is deciphered already is not looked for.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_readable(cx)
    }
}

/// The client's side of a connection.
type Line<S> = Tap<S, Guard>;

/// A dormant connection, counted for as long as it is one.
struct Dormant<'a>(&'a Shared);

impl<'a> Dormant<'a> {
    fn enter(shared: &'a Shared) -> Self {
        shared.dormant.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl Drop for Dormant<'_> {
    fn drop(&mut self) {
        self.0.dormant.fetch_sub(1, Relaxed);
    }
}

/// Answer the requests of a connection.
pub async fn serve<S: Stream>(worker: Rc<Worker>, stream: S, client: Client, open: Open) {
    let watch = Watch::new(worker.clock.now());
    let mut line = Tap::new(stream, Guard::new(watch.clone()));
    // Boxed, so that only who needs it has it.
    while let Some(quiet) = Box::pin(answer(&worker, &watch, &client, &open, line)).await {
        line = quiet;
        if !wait(&worker, &watch, &open, &line).await {
            tracing::trace!("connection closed for silence");
            return;
        }
    }
}

/// Answer requests until the connection is over, or quiet.
async fn answer<S: Stream>(
    worker: &Rc<Worker>,
    watch: &Arc<Watch>,
    client: &Client,
    open: &Open,
    line: Line<S>,
) -> Option<Line<S>> {
    let service = {
        let (worker, watch, client) = (worker.clone(), watch.clone(), client.clone());
        service_fn(move |mut request| {
            client.mark(&mut request);
            handle(worker.clone(), watch.clone(), client.address.ip(), request)
        })
    };
    watch.begin();
    let mut connection = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(TokioIo::new(line), service)
        .with_upgrades();
    let end = |connection: Pin<&mut _>| http1::UpgradeableConnection::graceful_shutdown(connection);
    let mut patience = Some(PATIENCE);
    while drive(Course { worker, watch, open, end, patience }, Pin::new(&mut connection)).await == Halt::Quiet
    {
        // Told to end, the library does so at once between two requests. It has the last word on
        // whether this is: if not, it ends with the one that is under way.
        watch.keep();
        end(Pin::new(&mut connection));
        match (&mut connection).now_or_never() {
            Some(Ok(())) => {
                let parts = connection.into_parts()?;
                let mut line = parts.io.into_inner();
                line.unread(&parts.read_buf);
                return Some(line);
            }
            Some(Err(_)) => return None,
            None => watch.begin(),
        }
        patience = None;
    }
    None
}

/// Wait for more of a connection that is dormant. Whether the library is to go on: also when the worker
/// stops, since it knows how to end a connection.
async fn wait<S: Stream>(worker: &Rc<Worker>, watch: &Watch, open: &Open, line: &Line<S>) -> bool {
    let _dormant = Dormant::enter(&worker.shared);
    let settings = &worker.shared.settings;
    let [head, idle, send] = [settings.head_timeout, settings.idle_timeout, settings.send_timeout].map(ticks);
    let mut deadline = worker.clock.at(watch.expires(head, idle, send).unwrap_or_default());
    poll_fn(|cx| {
        open.watch(cx);
        // Line ends may come before a request, and begin none.
        let has_more = line.early().iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        if has_more || worker.connections.is_stopping() || line.stream.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        Pin::new(&mut deadline).poll(cx).map(|()| false)
    })
    .await
}
