//! One request to one endpoint: sent over a connection that moves inside this very future, and
//! the head of the answer.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use rustix::io::Errno;

use super::{
    body::{Progress, Upload},
    circuit::Outcome,
    clock::{Clock, Deadline, Tick, ticks},
    pool::{Lease, Link},
    span::Kept,
    stats::UpstreamError,
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a client is kept waiting for its `100 Continue` when the plugin says nothing.
const EXPECT: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// There is nobody to send to.
    NoEndpoint,
    /// The plugin says that it is unhealthy.
    Unhealthy,
    /// Too much is under way already.
    Overloaded,
    /// All endpoints are ejected; one may be tried after so long.
    Open(Tick),
    /// No connection came about.
    Connect(io::Error),
    /// The request never left: here it is again.
    Unsent(Box<Request<Upload>>),
    /// The connection broke. `heard`: something of an answer came; `reused`: it had been used before.
    Broken { error: hyper::Error, heard: bool, reused: bool },
    /// What came is not HTTP.
    Malformed(hyper::Error),
    /// The client broke off its body, or sent what is no body.
    Client,
    /// The client's body has more bytes than it may.
    TooLarge,
    /// The client stopped sending its body.
    Stalled,
    /// No answer began in time.
    Timeout,
}

/// What bounds an exchange.
pub struct Patience {
    pub clock: Rc<Clock>,
    /// From the end of the request to the head of the answer; also between two pieces of the
    /// request.
    pub timeout: Duration,
    /// How many bytes of the request the client has to send in a second, where it is waited for.
    pub least_rate: u64,
    pub progress: Option<Arc<Progress>>,
    /// The trace that is kept of the request.
    pub kept: Option<Kept>,
}

/// Connect.
pub async fn connect(lease: &mut Lease, clock: &Rc<Clock>) -> Result<(), Failure> {
    connected(clock, lease.connect()).await.map(drop).map_err(Failure::Connect)
}

/// What comes of a connection that is to come about, within [`CONNECT`].
pub async fn connected<T>(
    clock: &Rc<Clock>,
    connecting: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut deadline = clock.after(CONNECT);
    let mut connecting = pin!(connecting);
    poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(connected),
        Poll::Pending => Pin::new(&mut deadline).poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
    })
    .await
}

/// Send a request and wait for the head of the answer.
pub async fn send(
    link: &mut Link,
    request: Request<Upload>,
    patience: &Patience,
) -> Result<Response<Incoming>, Failure> {
    let mut answer = pin!(link.sender.try_send_request(request));
    let mut wait = Wait::new(patience);
    let answered = poll_fn(|cx| {
        let over = link.poll(cx).is_ready();
        if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answered));
        }
        if over {
            // What it still holds, it gives back when it is dropped.
            link.close();
            return answer.as_mut().poll(cx).map(Ok);
        }
        wait.poll(cx).map(Err)
    })
    .await?;
    answered.map_err(|mut failed| {
        if let Some(request) = failed.take_message() {
            return Failure::Unsent(Box::new(request));
        }
        patience.failure(failed.into_error(), link.has_heard(), link.reused)
    })
}

impl Failure {
    /// Whether a connection was used that the plugin had closed meanwhile, as servers do.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Broken { heard: false, reused: true, .. })
    }

    /// As what it is counted.
    pub fn counted(&self) -> UpstreamError {
        match self {
            Self::NoEndpoint => UpstreamError::NoEndpoint,
            Self::Unhealthy => UpstreamError::Unhealthy,
            Self::Overloaded => UpstreamError::Overloaded,
            Self::Open(_) => UpstreamError::CircuitOpen,
            Self::Unsent(_) | Self::Connect(_) => UpstreamError::Connect,
            Self::Broken { .. } => UpstreamError::Broken,
            Self::Malformed(_) => UpstreamError::Malformed,
            Self::Timeout => UpstreamError::Timeout,
            Self::Client | Self::TooLarge | Self::Stalled => UpstreamError::ClientGone,
        }
    }

    /// Whether no connection came about for want of something here.
    pub fn is_ours(&self) -> bool {
        const OURS: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
        matches!(self, Self::Connect(error) if Errno::from_io_error(error).is_some_and(|it| OURS.contains(&it)))
    }

    /// What it says of the endpoint.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) if self.is_ours() => Outcome::Unknown,
            Self::Connect(_) | Self::Malformed(_) | Self::Timeout => Outcome::Failed,
            Self::Broken { .. } if !self.is_stale() => Outcome::Failed,
            Self::Broken { .. }
            | Self::NoEndpoint
            | Self::Unhealthy
            | Self::Overloaded
            | Self::Open(_)
            | Self::Unsent(_)
            | Self::Client
            | Self::TooLarge
            | Self::Stalled => Outcome::Unknown,
        }
    }
}

impl Patience {
    /// Why a request that was begun got no answer: the client's body, where that is what broke off.
    pub fn failure(&self, error: hyper::Error, heard: bool, reused: bool) -> Failure {
        if self.progress.as_ref().is_some_and(|progress| progress.is_too_large()) {
            Failure::TooLarge
        } else if self.progress.as_ref().is_some_and(|progress| progress.has_failed()) {
            Failure::Client
        } else if error.is_parse() {
            Failure::Malformed(error)
        } else {
            Failure::Broken { error, heard, reused }
        }
    }
}

/// How long is left.
pub struct Wait<'a> {
    patience: &'a Patience,
    deadline: Deadline,
    expect: Option<Deadline>,
    frames: u64,
    bytes: u64,
}

impl<'a> Wait<'a> {
    pub fn new(patience: &'a Patience) -> Self {
        let Patience { clock, timeout, progress, least_rate: _, kept: _ } = patience;
        let closed = progress.as_ref().is_some_and(|progress| progress.is_closed());
        Self {
            patience,
            deadline: clock.after(*timeout),
            expect: closed.then(|| clock.after(EXPECT)),
            frames: 0,
            bytes: 0,
        }
    }

    /// Ready when nothing is left.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let Patience { clock, timeout, least_rate, progress, kept: _ } = self.patience;
        if let (Some(expect), Some(progress)) = (&mut self.expect, progress)
            && Pin::new(expect).poll(cx).is_ready()
        {
            progress.open();
            self.expect = None;
        }
        while Pin::new(&mut self.deadline).poll(cx).is_ready() {
            let Some(progress) = progress else { return Poll::Ready(Failure::Timeout) };
            let (frames, bytes) = (progress.frames(), progress.bytes());
            let is_slow = ((bytes - self.bytes) as f64) < *least_rate as f64 * timeout.as_secs_f64();
            match progress.is_starved() {
                true if frames == self.frames || is_slow => return Poll::Ready(Failure::Stalled),
                false if frames == self.frames => return Poll::Ready(Failure::Timeout),
                _ => (self.frames, self.bytes) = (frames, bytes),
            }
            self.deadline.reset(clock.now() + ticks(*timeout));
        }
        Poll::Pending
    }
}
