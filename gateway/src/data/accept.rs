//! Connections of clients: accepted, served, and closed when their time has come.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::ReadBuf,
    net::{TcpListener, TcpStream},
};

use super::{
    chain::network,
    clock::{Tick, ticks},
    connection_limit::Counted,
    guard::Watch,
    headers, http1,
    http2::{self, PREFACE},
    secure::{self, Client},
    worker::Worker,
};
use crate::tls::Tls;

/// The largest request head.
pub const MAX_HEAD: usize = 64 * 1024;
/// How long to wait when no connection can be accepted, because there are too many.
const FULL: Duration = Duration::from_millis(100);

/// The connections of a worker, tunnels included.
#[derive(Default)]
pub struct Connections {
    stopping: Cell<bool>,
    next: Cell<u64>,
    wakers: RefCell<BTreeMap<u64, Waker>>,
    empty: RefCell<Option<Waker>>,
}

/// One connection, for as long as it is held.
pub struct Open {
    connections: Rc<Connections>,
    key: u64,
    _counted: Counted,
}

impl Connections {
    pub fn enter(self: &Rc<Self>, counted: Counted) -> Open {
        let key = self.next.replace(self.next.get() + 1);
        self.wakers.borrow_mut().insert(key, Waker::noop().clone());
        Open { connections: self.clone(), key, _counted: counted }
    }

    /// Have every connection end with the request that it is answering.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Resolves when there is no connection left.
    pub async fn gone(&self) {
        poll_fn(|cx| {
            if self.wakers.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.empty.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Open {
    /// Wake this when the connection is to end.
    pub fn watch(&self, cx: &Context<'_>) {
        if let Some(waker) = self.connections.wakers.borrow_mut().get_mut(&self.key) {
            waker.clone_from(cx.waker());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut wakers = self.connections.wakers.borrow_mut();
        wakers.remove(&self.key);
        if wakers.is_empty()
            && let Some(waker) = self.connections.empty.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

/// Accept connections until dropped, with TLS or without.
pub async fn accept(worker: &Rc<Worker>, listener: &TcpListener, tls: Option<&Arc<Tls>>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let is_proxy = headers::is_trusted(peer.ip(), &worker.shared.settings.trusted);
                let client = (!is_proxy).then(|| network(peer.ip()));
                // One too many is closed at once: left in the queue, it would wait without an end.
                if let Some(counted) = worker.shared.connections.admit(client) {
                    let open = worker.connections.enter(counted);
                    tokio::task::spawn_local(serve(worker.clone(), tls.cloned(), stream, peer, open));
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                worker.clock.after(FULL).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve(
    worker: Rc<Worker>,
    tls: Option<Arc<Tls>>,
    stream: TcpStream,
    address: SocketAddr,
    open: Open,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection closed before it began");
        return;
    }
    // Boxed is what is large, so that plain HTTP/1.1 does not pay for its size.
    if let Some(tls) = tls {
        return Box::pin(secure::serve(worker, tls, stream, address, open)).await;
    }
    let client = Client { address, secure: None };
    match begins(&worker, &stream, &open).await {
        Some(Begins::Http1) => http1::serve(worker, stream, client, open).await,
        Some(Begins::Http2) => Box::pin(http2::serve(worker, stream, client, open)).await,
        None => {}
    }
}

/// What a connection begins with.
enum Begins {
    Http1,
    Http2,
}

/// Look at the first bytes without taking them. `None` when there are none, or not in time.
async fn begins(worker: &Rc<Worker>, stream: &TcpStream, open: &Open) -> Option<Begins> {
    let settings = &worker.shared.settings;
    let mut idle = worker.clock.after(settings.idle_timeout);
    let mut bytes = [0; PREFACE.len()];
    let mut count = poll_fn(|cx| {
        open.watch(cx);
        if worker.connections.is_stopping() || Pin::new(&mut idle).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        stream.poll_peek(cx, &mut ReadBuf::new(&mut bytes)).map(Result::ok)
    })
    .await?;
    // To wait for the rest of a preface is rare, and the socket does not say when there is more
    // than has been looked at: so it is asked at every tick.
    let due = worker.clock.now() + ticks(settings.head_timeout);
    while count > 0 && count < PREFACE.len() && bytes[..count] == PREFACE[..count] {
        if worker.connections.is_stopping() || worker.clock.now() > due {
            return None;
        }
        worker.clock.at(worker.clock.now() + 1).await;
        count = stream.peek(&mut bytes).await.ok()?;
    }
    match count {
        0 => None,
        _ if bytes == *PREFACE => Some(Begins::Http2),
        _ => Some(Begins::Http1),
    }
}

/// How a connection is moved.
pub struct Course<'a, C> {
    pub worker: &'a Worker,
    pub watch: &'a Watch,
    pub open: &'a Open,
    /// Have it end with the requests that are under way.
    pub end: fn(Pin<&mut C>),
    /// After how long without a request it is quiet, if that matters.
    pub patience: Option<Tick>,
}

/// Why a connection is moved no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It is over, or its time has come.
    Over,
    /// It is open, and nothing happens on it: see [`Watch::is_quiet`].
    Quiet,
}

/// Move a connection until there is nothing more to move.
pub async fn drive<C>(course: Course<'_, C>, mut connection: Pin<&mut C>) -> Halt
where
    C: Future<Output = hyper::Result<()>>,
{
    let Course { worker, watch, open, end, patience } = course;
    let settings = &worker.shared.settings;
    let [head, idle, send] = [settings.head_timeout, settings.idle_timeout, settings.send_timeout].map(ticks);
    let interval = patience.map_or(head, |patience| patience.min(head));
    let mut deadline = worker.clock.at(worker.clock.now() + interval);
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        open.watch(cx);
        watch.tell(worker.clock.now());
        let leave = worker.connections.is_stopping() || (worker.shared.is_draining() && watch.may_leave());
        if leave && !stopping {
            stopping = true;
            end(connection.as_mut());
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map(|()| Halt::Over).map_err(Some));
        }
        if watch.is_abused() {
            return Poll::Ready(Err(None));
        }
        while Pin::new(&mut deadline).poll(cx).is_ready() {
            let now = worker.clock.now();
            let due = watch.expires(head, idle, send).unwrap_or(Tick::MAX);
            if due <= now {
                return Poll::Ready(Err(None));
            }
            if patience.is_some_and(|patience| watch.is_quiet(now, patience)) {
                return Poll::Ready(Ok(Halt::Quiet));
            }
            let look = watch.expires(head, interval, send).filter(|at| *at > now).unwrap_or(now + interval);
            deadline.reset(due.min(look));
        }
        Poll::Pending
    })
    .await;
    match ended {
        Ok(halt) => return halt,
        Err(Some(error)) => tracing::trace!(%error, "connection broke"),
        Err(None) => tracing::trace!("connection closed for silence, abuse, or not taking its answer"),
    }
    Halt::Over
}
