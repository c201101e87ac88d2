//! Connections of HTTP/2 to plugins: one worker's own, each shared by the calls that are under way
//! to one endpoint.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Mutex};

use super::{
    body::Upload,
    clock::{Tick, ticks},
    http2::Local,
    snapshot::Endpoint,
};

/// How many calls share a connection: what RFC 9113 asks servers to allow at least.
const MOST_CALLS: usize = 100;
/// How long a connection without a call is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How many bytes a plugin may send ahead of what the client has taken, on a stream and on all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How large the head of an answer may be, and its trailers.
const MAX_HEAD: u32 = 64 * 1024;
/// After how much silence a plugin is asked whether it is still there, and how long it has to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// The connections to all endpoints, by their keys.
#[derive(Default)]
pub struct Channels {
    open: RefCell<HashMap<u64, Vec<Channel>>>,
    /// Held while one is opened: who comes meanwhile waits for it instead of opening another one.
    opening: RefCell<HashMap<u64, Rc<Mutex<()>>>>,
}

struct Channel {
    sender: SendRequest<Upload>,
    endpoint: Arc<Endpoint>,
    calls: Rc<Cell<usize>>,
    used: Cell<Tick>,
}

/// A call's share in the load of its endpoint and of its connection.
pub struct Share {
    endpoint: Arc<Endpoint>,
    calls: Option<Rc<Cell<usize>>>,
}

impl Share {
    /// Take part in the load of an endpoint; there is no connection yet.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        Self { endpoint, calls: None }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
        if let Some(calls) = &self.calls {
            calls.set(calls.get() - 1);
        }
    }
}

impl Channels {
    /// A connection with room for a call: one that there is, or another one.
    pub async fn connect(&self, share: &mut Share, now: Tick) -> io::Result<SendRequest<Upload>> {
        if let Some(sender) = self.find(share, now) {
            return Ok(sender);
        }
        let opening = self.opening.borrow_mut().entry(share.endpoint.key).or_default().clone();
        let _opening = opening.lock().await;
        if let Some(sender) = self.find(share, now) {
            return Ok(sender);
        }
        let stream = TcpStream::connect(share.endpoint.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let label = share.endpoint.address;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(endpoint = %label, %error, "connection for calls broke");
            }
        });
        let calls = Rc::new(Cell::new(1));
        share.calls = Some(calls.clone());
        let endpoint = share.endpoint.clone();
        let channel = Channel { sender: sender.clone(), endpoint, calls, used: Cell::new(now) };
        self.open.borrow_mut().entry(share.endpoint.key).or_default().push(channel);
        Ok(sender)
    }

    fn find(&self, share: &mut Share, now: Tick) -> Option<SendRequest<Upload>> {
        let mut all = self.open.borrow_mut();
        let channels = all.get_mut(&share.endpoint.key)?;
        channels.retain(|channel| !channel.sender.is_closed());
        let channel = channels.iter().find(|channel| channel.calls.get() < MOST_CALLS)?;
        channel.calls.set(channel.calls.get() + 1);
        channel.used.set(now);
        share.calls = Some(channel.calls.clone());
        Some(channel.sender.clone())
    }

    /// Let go of what is closed, what nobody has used for long, and what leads to endpoints that
    /// are gone. Calls that are under way end first.
    pub fn sweep(&self, now: Tick) {
        let oldest = now.saturating_sub(ticks(IDLE));
        self.opening.borrow_mut().retain(|_, opening| Rc::strong_count(opening) > 1);
        self.open.borrow_mut().retain(|_, channels| {
            channels.retain(|Channel { sender, endpoint, calls, used }| {
                let idle = calls.get() == 0 && used.get() < oldest;
                !sender.is_closed() && !endpoint.is_retired() && !idle
            });
            !channels.is_empty()
        });
    }
}
