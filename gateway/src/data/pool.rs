//! Connections to plugins: one worker's own, kept open between requests.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::client::conn::http1::{Builder, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    body::Upload,
    clock::{Clock, Tick, ticks},
    snapshot::Endpoint,
    tap::{Ear, Tap},
};

/// How long an unused connection is kept: less than servers do, so that they seldom close it
/// just when it is used.
const IDLE: Duration = Duration::from_secs(30);
/// How many unused connections are kept for each endpoint.
const MOST_IDLE: usize = 256;
/// How large the head of an answer may be. Larger than what we take from clients: plugins are
/// trusted with cookies and policies.
const MAX_HEAD: usize = 256 * 1024;

/// A connection to a plugin, which moves when it is polled.
pub struct Link {
    pub sender: SendRequest<Upload>,
    /// Boxed once, because links move about: into the pool, out of it, into an answer's body.
    connection: Option<Box<Connection<TokioIo<Line>, Upload>>>,
    over: bool,
    /// Whether anything has come from the plugin since [`Link::forget`].
    heard: Rc<Cell<bool>>,
    /// Whether it has carried a request before.
    pub reused: bool,
}

impl Link {
    /// Over a stream that is connected.
    async fn open(stream: TcpStream) -> hyper::Result<Self> {
        let heard = Rc::new(Cell::new(false));
        let line = Tap::new(stream, heard.clone());
        let (sender, connection) = Builder::new()
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_HEAD + 64 * 1024)
            .handshake(TokioIo::new(line))
            .await?;
        Ok(Self { sender, connection: Some(Box::new(connection)), over: false, heard, reused: false })
    }

    /// Move the connection. Ready means that it is over, or that it has become a tunnel.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            // What became of it is told to the request that it carried, if any.
            Some(connection) if !self.over => {
                self.over = connection.poll_without_shutdown(cx).is_ready();
            }
            _ => self.over = true,
        }
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Close the connection.
    pub fn close(&mut self) {
        self.connection = None;
    }

    pub fn has_heard(&self) -> bool {
        self.heard.get()
    }

    fn forget(&self) {
        self.heard.set(false);
    }

    /// What is under the HTTP, and what has been read beyond it.
    pub fn into_tunnel(self) -> Option<(TcpStream, bytes::Bytes)> {
        let Parts { io, read_buf, .. } = self.connection?.into_parts();
        Some((io.into_inner().stream, read_buf))
    }

    /// Whether another request can be sent, as far as can be known without sending it.
    fn is_fit(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.poll(&mut nobody).is_pending() && self.sender.is_ready()
    }
}

/// The connections that are not in use.
#[derive(Default)]
pub struct Pool {
    /// By endpoint. To find one among so few takes less than to hash its key.
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
}

struct Idle {
    link: Link,
    endpoint: Arc<Endpoint>,
    since: Tick,
}

impl Pool {
    /// The connection that was used last, as it is the likeliest to be open still.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Link> {
        loop {
            let mut link = self.idle.borrow_mut().get_mut(&endpoint.key)?.pop()?.link;
            if link.is_fit() {
                link.forget();
                return Some(link);
            }
        }
    }

    fn put(&self, endpoint: &Arc<Endpoint>, mut link: Link, now: Tick) {
        link.reused = true;
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(endpoint.key).or_default();
        if links.len() < MOST_IDLE {
            links.push(Idle { link, endpoint: endpoint.clone(), since: now });
        }
    }

    /// Close what is closed at the other end, what nobody has used for long, and what leads to
    /// endpoints that are gone.
    pub fn sweep(&self, now: Tick) {
        let oldest = now.saturating_sub(ticks(IDLE));
        self.idle.borrow_mut().retain(|_, links| {
            links
                .retain_mut(|idle| idle.since >= oldest && !idle.endpoint.is_retired() && idle.link.is_fit());
            !links.is_empty()
        });
    }

    /// How many connections are not in use.
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A connection in use, and the request's share in the endpoint's load.
pub struct Lease {
    link: Option<Link>,
    endpoint: Arc<Endpoint>,
    pool: Rc<Pool>,
    clock: Rc<Clock>,
}

impl Lease {
    /// Take part in the load of an endpoint; there is no connection yet.
    pub fn new(endpoint: Arc<Endpoint>, pool: Rc<Pool>, clock: Rc<Clock>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        Self { link: None, endpoint, pool, clock }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Get a connection: one of the pool, or another one.
    pub async fn connect(&mut self) -> io::Result<&mut Link> {
        let link = match self.pool.take(&self.endpoint) {
            Some(link) => link,
            None => {
                let stream = TcpStream::connect(self.endpoint.address).await?;
                stream.set_nodelay(true)?;
                Link::open(stream).await.map_err(io::Error::other)?
            }
        };
        Ok(self.link.insert(link))
    }

    pub fn link(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }

    /// The connection, for another use; the load counts until this is dropped.
    pub fn take_link(&mut self) -> Option<Link> {
        self.link.take()
    }

    /// Move the connection, if it is still open.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.link
            && link.poll(cx).is_ready()
        {
            self.link = None;
        }
    }

    /// Move the connection until it is over.
    pub async fn drive(mut self) {
        poll_fn(|cx| {
            self.poll(cx);
            if self.link.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// The answer is complete: keep the connection for another request, if it is fit for one.
    pub fn settle(&mut self) {
        if let Some(mut link) = self.link.take()
            && !self.endpoint.is_retired()
            && (link.sender.is_ready() || link.is_fit())
        {
            self.pool.put(&self.endpoint, link, self.clock.now());
        }
    }

    pub fn close(&mut self) {
        self.link = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The plugin's side of a connection: that it has said anything is all that matters.
type Line = Tap<TcpStream, Rc<Cell<bool>>>;

impl Ear for Rc<Cell<bool>> {
    fn hear(&mut self, _: &[u8]) {
        self.set(true);
    }
}
