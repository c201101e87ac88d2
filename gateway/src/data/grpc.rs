//! Calls of gRPC: HTTP/2 from the client to the plugin, because trailers carry the outcome. The
//! deadline that the client names is kept here too, and what the gateway itself has to say is
//! said as gRPC says it.

use std::{
    fmt::Write,
    future::{Future, poll_fn},
    io::ErrorKind,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use forward_plan::middleware::CircuitBreaker;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::Scheme,
};
use hyper::body::Incoming;

use super::{
    attempt::{ATTEMPTS, SHUN},
    body::{Answer, Progress, Upload},
    chain::Terms,
    channel::Share,
    circuit::Outcome,
    clock::Deadline,
    exchange::{Failure, Patience, Wait, connected},
    forward::explain,
    headers,
    inflow::Inflow,
    problem::{Detail, Problem},
    record::Record,
    snapshot::{Plugin, Route},
    span::Call,
    turn::Turn,
    worker::Worker,
};

/// The media type, which may be followed by the message's encoding: `application/grpc+proto`.
const MEDIA: &[u8] = b"application/grpc";
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a call ends with: those of the codes that the gateway has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// What an HTTP status means to a client of gRPC.
    pub fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Internal,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Self::Unimplemented
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Self::ResourceExhausted,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The trailers of a call that ends like this.
    pub fn trailers(self, message: &str) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, HeaderValue::from(self as u16));
        if let Ok(message) = HeaderValue::from_str(&encoded(message)) {
            trailers.insert(MESSAGE, message);
        }
        trailers
    }
}

/// A message as `grpc-message` has it: printable ASCII, the rest in percent.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

/// Whether a request is a call.
pub fn is_call(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2
        && headers.get(header::CONTENT_TYPE).is_some_and(|media| {
            let media = media.as_bytes();
            media.split_at_checked(MEDIA.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(MEDIA) && matches!(rest.first(), None | Some(b'+' | b';'))
            })
        })
}

/// What the gateway has to say about a call, as gRPC says it: a head that is trailers already.
/// Answers of plugins stay what they are.
pub fn translate(mut response: Response<Answer>) -> Response<Answer> {
    let Some(Detail(detail)) = response.extensions_mut().remove::<Detail>() else { return response };
    let mut answer = Response::new(Answer::empty());
    *answer.headers_mut() = Code::of(response.status()).trailers(&detail);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// How long the client waits for the whole call: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let malformed = Problem::BadRequest("grpc-timeout is not up to eight digits and a unit");
    let parsed = value.to_str().ok().and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count = digits.parse::<u64>().ok().filter(|_| plain)?;
        Some(match unit {
            "H" => Duration::from_secs(count * 60 * 60),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    });
    parsed.map(Some).ok_or(malformed)
}

/// A call on its way, for as long as its answer is.
pub struct Underway {
    _share: Share,
    _sending: Sending,
    deadline: Option<Deadline>,
}

/// The request of a call. When the answer is over, so is this: otherwise the plugin would go on
/// waiting for a client that has its answer.
struct Sending(Option<Arc<Progress>>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.end();
        }
    }
}

impl Underway {
    /// Ready when the client no longer waits.
    pub fn poll_deadline(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        match &mut self.deadline {
            Some(deadline) => Pin::new(deadline).poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Send a call to its plugin. Of the terms, that of a silent body is not for calls: streams may be.
pub async fn forward(
    worker: &Rc<Worker>,
    route: Arc<Route>,
    mut head: Parts,
    body: Inflow,
    terms: Terms,
    record: &Record,
) -> Result<Response<Answer>, Problem> {
    let limit = timeout(&head.headers)?;
    let mut deadline = limit.map(|limit| worker.clock.after(limit));
    let (upload, progress) = Upload::new(body, false, terms.body_limit);
    let sending = Sending(progress.clone());
    let request = Request::from_parts(prepare(&mut head)?, upload);
    // Who says how long to wait is believed, also where that is longer than usual, but not than a
    // middleware allows.
    let usual = limit.unwrap_or(worker.shared.settings.upstream_timeout);
    let timeout = terms.answer.map_or(usual, |most| most.min(usual));
    // Streams may be silent for long, and send little.
    let (clock, kept) = (worker.clock.clone(), record.kept());
    let patience = Patience { clock, timeout, least_rate: 0, progress, kept };
    let hurried = limit.is_some_and(|limit| limit <= timeout);
    let refused = |failure: Failure| explain(&route, &failure, &terms, record);
    let uploading = patience.progress.as_deref();
    let admission = route.policies().admit(worker, &route.plugin, uploading).map_err(refused)?;
    let (response, share) = attempt(
        worker,
        (&route.plugin, &route.policies().breaker),
        request,
        &patience,
        (&mut deadline, hurried),
    )
    .await
    .map_err(refused)?;
    record.hold(admission.answered(&route.plugin, uploading));
    Ok(answer(response, Underway { _share: share, _sending: sending, deadline }))
}

/// The head for a connection of HTTP/2: the host stands in the target.
fn prepare(head: &mut Parts) -> Result<Parts, Problem> {
    let trailers = headers::strip(&mut head.headers).trailers;
    if trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    head.headers.remove(header::EXPECT);
    let host = head.headers.remove(header::HOST).unwrap_or_else(|| HeaderValue::from_static(""));
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(host.as_bytes())
        .path_and_query(path)
        .build()
        .map_err(|_| Problem::BadRequest("the Host header is not a host and port"))?;
    parts.method = head.method.clone();
    parts.version = Version::HTTP_2;
    parts.headers = std::mem::take(&mut head.headers);
    Ok(parts)
}

/// The head of an answer, from the first endpoint to which a connection comes about. A call that is
/// over because its client is `hurried` says nothing of the endpoint.
pub async fn attempt(
    worker: &Rc<Worker>,
    (plugin, policy): (&Plugin, &CircuitBreaker),
    mut request: Request<Upload>,
    patience: &Patience,
    (deadline, hurried): (&mut Option<Deadline>, bool),
) -> Result<(Response<Incoming>, Share), Failure> {
    let mut tried: Vec<u64> = Vec::new();
    let mut last = None;
    for tries in 0..ATTEMPTS {
        let turn = match Turn::take(worker, plugin, policy, &tried) {
            Ok(turn) => turn,
            Err(none) => return Err(last.unwrap_or(none)),
        };
        let mut share = Share::new(turn.endpoint().clone());
        let call = Call::begin(worker, patience.kept, turn.endpoint(), tries, &mut request);
        let connecting = worker.channels.connect(&mut share, worker.clock.now());
        let mut sender = match connected(&worker.clock, connecting).await {
            Ok(sender) => sender,
            Err(error) => {
                let failure = Failure::Connect(error);
                turn.end(failure.outcome());
                if !failure.is_ours() {
                    share.endpoint().shun(SHUN);
                }
                tried.push(share.endpoint().key);
                call.end::<()>(Err(&failure));
                last = Some(failure);
                continue;
            }
        };
        let mut answer = pin!(sender.try_send_request(request));
        let mut wait = Wait::new(patience);
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answered));
            }
            if deadline.as_mut().is_some_and(|deadline| Pin::new(deadline).poll(cx).is_ready()) {
                return Poll::Ready(Err(Failure::Timeout));
            }
            wait.poll(cx).map(Err)
        })
        .await;
        let failure = match answered {
            Ok(Ok(response)) => {
                let failed = policy.is_failure(response.status());
                turn.end(if failed { Outcome::Failed } else { Outcome::Answered });
                call.end(Ok(&response));
                return Ok((response, share));
            }
            Ok(Err(mut failed)) => match failed.take_message() {
                // The plugin closes the connection, and this never left.
                Some(unsent) => {
                    request = unsent;
                    let failure = Failure::Connect(ErrorKind::ConnectionAborted.into());
                    call.end::<()>(Err(&failure));
                    last = Some(failure);
                    continue;
                }
                None => patience.failure(failed.into_error(), true, false),
            },
            Err(failure) => failure,
        };
        call.end::<()>(Err(&failure));
        turn.end(if hurried && matches!(failure, Failure::Timeout) {
            Outcome::Unknown
        } else {
            failure.outcome()
        });
        return Err(failure);
    }
    Err(last.unwrap_or(Failure::NoEndpoint))
}

/// The plugin's answer as the client gets it.
fn answer(mut response: Response<Incoming>, underway: Underway) -> Response<Answer> {
    headers::strip(response.headers_mut());
    response.map(|incoming| Answer::call(incoming, underway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_call_by_version_and_media_type() {
        let is = |version, media: &'static str| {
            let media = (header::CONTENT_TYPE, HeaderValue::from_static(media));
            is_call(version, &HeaderMap::from_iter([media]))
        };
        for media in ["application/grpc", "application/grpc+proto", "Application/gRPC;x=y"] {
            assert!(is(Version::HTTP_2, media), "{media}");
            assert!(!is(Version::HTTP_11, media), "{media}");
        }
        for media in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is(Version::HTTP_2, media), "{media}");
        }
    }

    #[test]
    fn reads_timeouts() {
        let read = |text: &str| {
            timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_str(text).unwrap())])).ok().flatten()
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1 S"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn writes_messages_in_printable_ascii() {
        assert_eq!(encoded("plugin a/b: 100% ü\n"), "plugin a/b: 100%25 %C3%BC%0A");
    }
}
