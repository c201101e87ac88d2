//! Clients that speak HTTP/2, and what their requests must be like before they may become
//! requests of HTTP/1.1. The library sees to the frames and to what RFC 9113 calls malformed; here
//! is what could mean two things once it is text: hosts that differ, and bodies without an end.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use http::{HeaderValue, Method, header, request};
use hyper::{
    body::{Body, Incoming},
    rt::Executor,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    accept::{Course, MAX_HEAD, Open, drive},
    guard::Watch,
    problem::Problem,
    request::handle,
    secure::Client,
    worker::Worker,
};

/// What a connection of HTTP/2 begins with.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many requests may be under way on a connection: RFC 9113 advises against fewer than 100.
const MAX_STREAMS: u32 = 128;
/// How many bytes a client may send ahead of what the plugin has taken, on a stream and on all
/// streams of its connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How many bytes of answers are held for a client that does not read, on each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams a client may have reset before they were looked at.
const MAX_RESET: usize = 32;
/// How many errors of its own making a client may cause.
const MAX_ERRORS: usize = 128;
/// After how much silence a client is asked whether it is still there, and how long it has to say so.
const PING: Duration = Duration::from_secs(60);
const PONG: Duration = Duration::from_secs(20);

/// Runs what the library splits off on the same thread.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl<F> Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Answer the requests of a connection.
pub async fn serve<S>(worker: Rc<Worker>, stream: S, client: Client, open: Open)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let watch = Watch::of_many(worker.clock.now());
    let service = {
        let (worker, watch) = (worker.clone(), watch.clone());
        service_fn(move |mut request| {
            client.mark(&mut request);
            handle(worker.clone(), watch.clone(), client.address.ip(), request)
        })
    };
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).expect("the largest head is some KiB"))
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(MAX_ERRORS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol()
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(stream), service);
    let end = |connection: Pin<&mut _>| http2::Connection::graceful_shutdown(connection);
    let course = Course { worker: &worker, watch: &watch, open: &open, end, patience: None };
    drive(course, pin!(connection)).await;
}

/// Refuse what can be read in two ways, and bring the head into the form of HTTP/1.1.
pub fn check(head: &mut request::Parts, body: &Incoming) -> Result<(), Problem> {
    agree_on_host(head)?;
    let is_of_server = head.method == Method::OPTIONS && head.uri.path() == "*";
    if !is_of_server && !head.uri.path().starts_with('/') {
        return Err(Problem::BadRequest("the path does not begin with '/'"));
    }
    delimit(head, body)?;
    join_cookies(head)
}

/// There is one host: `:authority`, or `Host` where that is missing, or both the same.
fn agree_on_host(head: &request::Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    match (head.uri.authority(), host) {
        _ if another.is_some() => Err(Problem::BadRequest("there must be at most one Host header")),
        (None, None) => Err(Problem::BadRequest("the request names no host")),
        (Some(authority), Some(host)) if !is_same(authority.as_str(), host) => {
            Err(Problem::BadRequest(":authority and the Host header differ"))
        }
        _ => Ok(()),
    }
}

fn is_same(authority: &str, host: &HeaderValue) -> bool {
    authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
}

/// A body of HTTP/2 ends with its stream. In HTTP/1.1 it has a length, which the library holds it
/// to, or is sent in chunks.
fn delimit(head: &mut request::Parts, body: &Incoming) -> Result<(), Problem> {
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let (length, another) = (lengths.next(), lengths.next());
    let is_number =
        |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if another.is_some() || length.is_some_and(|length| !is_number(length)) {
        return Err(Problem::BadRequest("Content-Length is not one number"));
    }
    let is_empty = body.is_end_stream();
    if is_empty && length.is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0')) {
        return Err(Problem::BadRequest("Content-Length promises a body that is not there"));
    }
    if !is_empty && length.is_none() {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

/// HTTP/2 may send cookies one by one, so as to compress them better; in HTTP/1.1 there is one line.
fn join_cookies(head: &mut request::Parts) -> Result<(), Problem> {
    let crumbs = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    if crumbs.len() > 1 {
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
            .map_err(|_| Problem::BadRequest("the cookies are not a header value"))?;
        head.headers.insert(header::COOKIE, joined);
    }
    Ok(())
}
