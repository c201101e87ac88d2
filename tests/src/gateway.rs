//! Requests through the gateway, as clients outside the cluster make them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};

use crate::wait::await_until;

/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Requests in a row, each over a connection of its own, that meet every replica of the gateway: one learns of
/// changes some moments before the other.
pub const IN_A_ROW: usize = 16;

/// A body that is sent.
pub type Body = Full<Bytes>;

/// The gateway's traffic port.
#[derive(Clone, Debug)]
pub struct Gateway {
    authority: String,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Gateway {
    /// The gateway at an `http://host:port` address.
    pub fn new(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("read the gateway's address {url:?}"))?;
        let authority = uri.authority().with_context(|| format!("{url:?} names no host"))?;
        Ok(Self { authority: authority.to_string() })
    }

    /// `host:port`, for what speaks to the socket itself.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// GET a path.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Request::get(path).body(Body::default())?).await
    }

    /// POST a body to a path.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send(Request::post(path).body(Body::new(body.into()))?).await
    }

    /// Send a request over a connection of its own. Where it has no Host, it gets the gateway's.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer> {
        let what = format!("{} {}", request.method(), request.uri());
        let exchange = async {
            let mut connection = self.connect().await?;
            let response = connection.send_request(self.addressed(request)).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        timeout(EXCHANGE, exchange)
            .await
            .with_context(|| format!("{what} took longer than {EXCHANGE:?}"))?
            .context(what)
    }

    /// Send a request and give the response with its body still to come.
    pub async fn stream(&self, request: Request<Body>) -> Result<http::Response<Incoming>> {
        let mut connection = self.connect().await?;
        Ok(connection.send_request(self.addressed(request)).await?)
    }

    /// Ask for a path until it is answered with a status, by every replica; gives the last answer.
    pub async fn await_status(&self, path: &str, status: u16, bound: Duration) -> Result<Answer> {
        await_until(&format!("GET {path} to be answered with {status}"), bound, async || {
            let mut last = None;
            for _ in 0..IN_A_ROW {
                let answer = self.get(path).await?;
                if answer.status.as_u16() != status {
                    bail!("it is answered with {}: {}", answer.status, answer.text());
                }
                last = Some(answer);
            }
            last.context("an answer")
        })
        .await
    }

    /// A new connection; it lives as long as what is returned.
    pub(crate) async fn connect(&self) -> Result<SendRequest<Body>> {
        let stream = TcpStream::connect(&self.authority).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the request that is under way.
        tokio::spawn(async move { connection.with_upgrades().await.ok() });
        Ok(sender)
    }

    pub(crate) fn addressed(&self, mut request: Request<Body>) -> Request<Body> {
        let host = self.authority.parse().expect("an authority is a header's value");
        request.headers_mut().entry(http::header::HOST).or_insert(host);
        request
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| format!("read {:?} as JSON", self.text()))
    }
}
