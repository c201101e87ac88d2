//! Connections of clients: accepted, served, and closed when their time has come.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::{
    clock::ticks,
    guard::{Guard, Watch},
    request::handle,
    tap::Tap,
    worker::Worker,
};

/// The largest request head.
const MAX_HEAD: usize = 64 * 1024;
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
}

impl Connections {
    pub fn enter(self: &Rc<Self>) -> Open {
        let key = self.next.replace(self.next.get() + 1);
        self.wakers.borrow_mut().insert(key, Waker::noop().clone());
        Open { connections: self.clone(), key }
    }

    /// Have every connection end with the request that it is answering.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
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
    fn watch(&self, cx: &Context<'_>) {
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

/// Accept connections until dropped.
pub async fn accept(worker: &Rc<Worker>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let open = worker.connections.enter();
                tokio::task::spawn_local(serve(worker.clone(), stream, peer, open));
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

async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, open: Open) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection closed before it began");
        return;
    }
    let watch = Watch::new(worker.clock.now());
    let service = {
        let (worker, watch) = (worker.clone(), watch.clone());
        service_fn(move |request| handle(worker.clone(), watch.clone(), peer.ip(), request))
    };
    let connection = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(TokioIo::new(Tap { stream, ear: Guard::new(watch.clone()) }), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let settings = &worker.shared.settings;
    let (head, idle) = (ticks(settings.head_timeout), ticks(settings.idle_timeout));
    let mut deadline = worker.clock.at(worker.clock.now() + head);
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        open.watch(cx);
        watch.tell(worker.clock.now());
        if worker.connections.stopping.get() && !stopping {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map_err(Some));
        }
        while Pin::new(&mut deadline).poll(cx).is_ready() {
            let now = worker.clock.now();
            match watch.expires(head, idle) {
                Some(due) if due <= now => return Poll::Ready(Err(None)),
                Some(due) => deadline.reset(due),
                None => deadline.reset(now + head),
            }
        }
        Poll::Pending
    })
    .await;
    match ended {
        Ok(()) => {}
        Err(Some(error)) => tracing::trace!(%peer, %error, "connection broke"),
        Err(None) => tracing::trace!(%peer, "connection timed out"),
    }
}
