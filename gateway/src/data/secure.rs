//! Clients that come over TLS: the handshake, bounded in time and number, and then the protocol
//! that both ends have agreed on.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use http::{Extensions, HeaderName, HeaderValue, Request, request::Parts};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{accept::Open, http1, http2, worker::Worker};
use crate::tls::{Tls, clients::describe};

/// How many handshakes may be under way on one worker. Each costs some milliseconds of computing,
/// so that more would be late anyway.
const MOST: usize = 512;

/// What plugins are told of the client's certificate.
const CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// A request came over TLS.
#[derive(Clone, Debug)]
pub struct Secure {
    /// The certificate that the client has shown, and that holds.
    certificate: Option<HeaderValue>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub secure: Option<Secure>,
}

impl Client {
    /// Write down in a request how it came. In the clear there is nothing to say.
    pub fn mark<B>(&self, request: &mut Request<B>) {
        if let Some(secure) = &self.secure {
            request.extensions_mut().insert(secure.clone());
        }
    }
}

/// The scheme of the connection that a request came on.
pub fn scheme(extensions: &Extensions) -> &'static str {
    if extensions.get::<Secure>().is_some() { "https" } else { "http" }
}

/// Tell the plugin which certificate the client has shown.
pub fn identify(head: &mut Parts) {
    let shown = head.extensions.get::<Secure>().and_then(|secure| secure.certificate.clone());
    if let Some(certificate) = shown {
        head.headers.insert(CERTIFICATE, certificate);
    }
}

/// How many handshakes a worker has under way.
#[derive(Debug, Default)]
pub struct Handshakes(Cell<usize>);

struct Slot<'a>(&'a Handshakes);

impl Handshakes {
    fn enter(&self) -> Option<Slot<'_>> {
        let count = self.0.get();
        (count < MOST).then(|| {
            self.0.set(count + 1);
            Slot(self)
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// Answer the requests of a connection.
pub async fn serve(worker: Rc<Worker>, tls: Arc<Tls>, stream: TcpStream, address: SocketAddr, open: Open) {
    let outcome = {
        match worker.handshakes.enter() {
            Some(_slot) => shake(&worker, &tls, stream, &open).await,
            None => Err("refused"),
        }
    };
    let stream = match outcome {
        Ok(stream) => stream,
        Err(outcome) => {
            tls.calls.handshake(outcome);
            return;
        }
    };
    tls.calls.handshake("ok");
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.and_then(|shown| HeaderValue::from_str(&describe(shown)).ok());
    let client = Client { address, secure: Some(Secure { certificate }) };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(worker, stream, client, open).await;
    } else {
        http1::serve(worker, stream, client, open).await;
    }
}

async fn shake(
    worker: &Worker,
    tls: &Tls,
    stream: TcpStream,
    open: &Open,
) -> Result<TlsStream<TcpStream>, &'static str> {
    let mut deadline = worker.clock.after(worker.shared.settings.head_timeout);
    let mut handshake = pin!(TlsAcceptor::from(tls.config()).accept(stream));
    poll_fn(|cx| {
        open.watch(cx);
        if worker.connections.is_stopping() {
            return Poll::Ready(Err("stopped"));
        }
        if let Poll::Ready(shaken) = handshake.as_mut().poll(cx) {
            return Poll::Ready(shaken.map_err(|error| {
                tracing::trace!(%error, "handshake failed");
                "failed"
            }));
        }
        Pin::new(&mut deadline).poll(cx).map(|()| Err("timeout"))
    })
    .await
}
