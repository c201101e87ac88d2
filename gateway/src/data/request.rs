//! One request, from its head to the head of its answer.

use std::{borrow::Cow, convert::Infallible, net::IpAddr, rc::Rc, sync::Arc};

use forward_plan::routes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, uri::Authority,
};
use hyper::body::Incoming;

use super::{
    ask::{self, About, Outcome, Recalled},
    body::Answer,
    chain::{Chain, Inbound, Next, Passage, Terms},
    cors,
    forward::{Outbound, forward},
    grpc,
    guard::Watch,
    headers, http2,
    inflow::Inflow,
    path,
    problem::{self, Problem},
    record::Record,
    secure,
    snapshot::{Match, Route, Snapshot},
    trace, websocket,
    worker::Worker,
};

/// Answer a request.
pub async fn handle(
    worker: Rc<Worker>,
    watch: Arc<Watch>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let mut record = Record::begin(worker.clone(), watch.clone(), request.method().clone());
    let (mut head, body) = request.into_parts();
    headers::take_named(&mut head.headers);
    let is_call = grpc::is_call(head.version, &head.headers);
    let is_websocket = websocket::ask(&mut head, &worker.dice);
    let (id, is_ours) = trace::mark(&mut head.headers, &worker.dice);
    if let Some(spans) = &worker.shared.settings.spans {
        let context = trace::context(&head.headers, is_ours);
        let believed = headers::is_trusted(peer, &worker.shared.settings.trusted);
        record.traced(context.and_then(|context| spans.begin(&context, believed, &mut head, &worker.dice)));
    }
    record.named(head.uri.path(), &id);
    let answered = match check(&mut head, &body, &watch) {
        Ok(host) => {
            let body = Inflow::Coming(body);
            route(&worker, Received { head, body, peer, host, id: &id }, &mut record).await
        }
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| problem.answer(Some(&id)));
    record.answered(response.status());
    if is_call {
        response = grpc::translate(response);
    } else if is_websocket {
        response = websocket::answer(response, &id);
    }
    response.headers_mut().insert(trace::REQUEST_ID, id);
    if worker.shared.is_draining() && !response.headers().contains_key(header::UPGRADE) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| body.recorded(record)))
}

/// A request that can be read in one way only.
struct Received<'a> {
    head: request::Parts,
    body: Inflow,
    peer: IpAddr,
    host: HeaderValue,
    id: &'a HeaderValue,
}

async fn route(
    worker: &Rc<Worker>,
    received: Received<'_>,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    let head = &received.head;
    let route = match choose(&worker.shared.snapshot.load(), head, &received.host) {
        Match::Route(route) => route,
        Match::Allow(allowed) => return unrouted(head, Some(allowed)),
        Match::NotFound => return unrouted(head, None),
    };
    record.routed(route.clone());
    match route.chain.clone() {
        None => send(worker, route, received, Terms::default(), record).await,
        Some(chain) => Ok(through(worker, &chain, route, received, record).await),
    }
}

/// What a request to a host comes to: for a browser's question, the route that it is about.
pub fn choose(snapshot: &Snapshot, head: &request::Parts, host: &HeaderValue) -> Match {
    if path::is_internal(head.uri.path()) {
        return Match::NotFound;
    }
    let find = |method: &Method| snapshot.find(&name_of(host), method, head.uri.path());
    preflighted(head, find).map_or_else(|| find(&head.method), Match::Route)
}

/// What a request without a route is answered, where its path has these methods, or is nobody's.
pub fn unrouted(
    head: &request::Parts,
    allowed: Option<Vec<routes::Method>>,
) -> Result<Response<Answer>, Problem> {
    match allowed {
        Some(allowed) if head.method == Method::OPTIONS => Ok(problem::options(&allowed)),
        Some(allowed) => Err(Problem::MethodNotAllowed(allowed)),
        None if head.uri.path() == "*" => Ok(problem::options(&[])),
        None => Err(Problem::NotFound),
    }
}

/// The route that a browser asks about before it asks for it, where its middleware answers that.
fn preflighted(head: &request::Parts, find: impl Fn(&Method) -> Match) -> Option<Arc<Route>> {
    match find(&cors::asked_method(head)?) {
        Match::Route(route) if route.chain.as_ref().is_some_and(|it| it.answers_preflights()) => Some(route),
        _ => None,
    }
}

/// Through the middleware, to the plugin if it leads there, and back.
async fn through(
    worker: &Rc<Worker>,
    chain: &Chain,
    route: Arc<Route>,
    mut received: Received<'_>,
    record: &mut Record,
) -> Response<Answer> {
    if let Some(percent) = chain.log_percent {
        let sampled = worker.dice.roll() % 100 < u64::from(percent);
        record.log(sampled.then_some(0), received.head.uri.path(), received.id);
    }
    let about = chain.asks_about_answers().then(|| (route.clone(), About::of(&received.head)));
    let mut passage = Passage::default();
    let mut inbound = Inbound {
        head: &mut received.head,
        peer: received.peer,
        host: &received.host,
        trusted: &worker.shared.settings.trusted,
        replicas: worker.shared.replicas(),
    };
    let id = received.id;
    let body = &mut received.body;
    let answered = match enter(worker, chain, &route, (&mut inbound, body), &mut passage, id).await {
        Ok(Some(answer)) => Ok(*answer),
        Ok(None) => send(worker, route, received, passage.terms, record).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| problem.answer(Some(id)));
    passage.tell(&mut response);
    while let Some(asked) = chain.leave(&mut passage, &mut response) {
        let Some((route, about)) = &about else { break };
        // What becomes a tunnel has no other answer any more.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        let question = ask::on_response(asked, route, about, id, &response);
        match Box::pin(asked.response(worker, question)).await {
            Ok(changes) => changes.unwrap_or_default().apply(response.headers_mut()),
            Err(problem) => {
                response = problem.answer(Some(id));
                passage.tell(&mut response);
            }
        }
    }
    response
}

/// Through the middleware. `None`: the request is for the plugin.
async fn enter(
    worker: &Rc<Worker>,
    chain: &Chain,
    route: &Route,
    (inbound, body): (&mut Inbound<'_>, &mut Inflow),
    passage: &mut Passage,
    id: &HeaderValue,
) -> Result<Option<Box<Response<Answer>>>, Problem> {
    loop {
        let asked = match chain.enter(inbound, passage)? {
            Next::Plugin => return Ok(None),
            Next::Back(answer) => return Ok(Some(answer)),
            Next::Ask(asked) => asked,
            Next::Judge(judge) => {
                Box::pin(judge.check(worker, &route.plugin, inbound.head, body)).await?;
                passage.pass(true);
                continue;
            }
        };
        let note = match asked.recall(worker, &route.plugin.id, &inbound.head.headers) {
            // It may go by what has been said before, which no header shows.
            _ if passage.caller().is_some() => None,
            Recalled::Known(caller) => {
                passage.introduce(inbound, Some(caller));
                passage.pass(true);
                continue;
            }
            Recalled::Unknown(note) => note,
        };
        // On the heap, so that requests that ask nobody stay small.
        let answered = Box::pin(async {
            let (shown, _copies) = match asked.most_body() {
                Some(_) if !asked.is_there(worker)? => return Ok(None),
                Some(most) => {
                    let mut late = worker.clock.after(worker.shared.settings.upstream_timeout);
                    let room = route.plugin.room(&worker.shared);
                    let gathered = body.gather(most, &room, &mut late).await?;
                    let gathered = gathered.ok_or_else(|| asked.unanswered())?;
                    // One in the question, and one as it is written.
                    let copies = room.take(gathered.len() * 2).ok_or_else(|| asked.unanswered())?;
                    (Some(gathered), Some(copies))
                }
                None => (None, None),
            };
            let question = ask::on_request(asked, route, (inbound, passage.caller()), shown, id);
            asked.request(worker, question).await
        });
        match answered.await? {
            Some(Outcome::Answer(answer)) => return Ok(Some(answer)),
            Some(Outcome::Continue(changes, caller, holds)) => {
                if let Some((note, caller)) = note.zip(caller.as_ref()) {
                    asked.keep(worker, note, caller, holds);
                }
                changes.apply(&mut inbound.head.headers);
                passage.introduce(inbound, caller);
                passage.pass(true);
            }
            None => passage.pass(false),
        }
    }
}

async fn send(
    worker: &Rc<Worker>,
    route: Arc<Route>,
    received: Received<'_>,
    terms: Terms,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    let Received { mut head, body, peer, host, id: _ } = received;
    body.check(terms.body_limit)?;
    let scheme = secure::scheme(&head.extensions);
    headers::forward(&mut head.headers, peer, &host, scheme, &worker.shared.settings.trusted);
    secure::identify(&mut head);
    if grpc::is_call(head.version, &head.headers) {
        return grpc::forward(worker, route, head, body, terms, record).await;
    }
    forward(worker, Outbound::new(route, head, body, terms), record).await
}

/// Refuse what can be read in two ways, and bring the target into the one form that plugins see:
/// a path, and the `Host` header.
fn check(head: &mut request::Parts, body: &Incoming, watch: &Watch) -> Result<HeaderValue, Problem> {
    if head.version == Version::HTTP_2 {
        http2::check(head, body)?;
    }
    if watch.is_ambiguous() {
        return Err(Problem::BadRequest("Content-Length is no number, or stands beside a Transfer-Encoding"));
    }
    let mut encodings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next()
        && (encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Problem::NotImplemented("the only Transfer-Encoding of a request is chunked"));
    }
    target(head)
}

/// Bring a target into the one form that plugins see, or refuse it; the answer is the host.
pub fn target(head: &mut request::Parts) -> Result<HeaderValue, Problem> {
    if head.method == Method::CONNECT {
        return Err(Problem::NotImplemented("this is not a proxy for CONNECT"));
    }
    headers::disown(&mut head.headers);
    let host = host(head)?;
    if has_dot_segment(head.uri.path()) {
        return Err(Problem::BadRequest("the path has a segment '.' or '..'"));
    }
    if head.headers.get(header::HOST) != Some(&host) {
        head.headers.insert(header::HOST, host.clone());
    }
    Ok(host)
}

/// The host of the target, as RFC 9112 finds it: that of an absolute target, else `Host`, of which
/// there must be exactly one.
fn host(head: &mut request::Parts) -> Result<HeaderValue, Problem> {
    let invalid = || Problem::BadRequest("the Host header is not a host and port");
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && head.version == Version::HTTP_11) {
        return Err(Problem::BadRequest("there must be exactly one Host header"));
    }
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse::<Uri>().map_err(|_| Problem::BadRequest("the target is not a path"))?;
        return if host.as_bytes().contains(&b'@') { Err(invalid()) } else { Ok(host) };
    }
    let host = first.cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    let valid = host.is_empty()
        || Authority::try_from(host.as_bytes()).is_ok_and(|authority| !authority.as_str().contains('@'));
    if valid { Ok(host) } else { Err(invalid()) }
}

/// The host's name: without the port, in lower case.
pub fn name_of(host: &HeaderValue) -> Cow<'_, str> {
    let text = host.to_str().unwrap_or_default();
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    };
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether some would read the path as another one. Clients resolve such segments before they
/// ask; who does not, wants to get past something.
pub fn has_dot_segment(path: &str) -> bool {
    let is_dot = |segment: &str| {
        matches!(segment.as_bytes().first(), Some(b'.' | b'%'))
            && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    };
    path.split('/').any(is_dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_dot_segments_however_they_are_written() {
        for path in ["/.", "/a/..", "/a/../b", "/%2e/b", "/a/%2E%2e/b", "/.%2e"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "/...", "/.well-known/x", "/a.b", "/%2e%2e%2e", "/..a", "*"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn takes_the_name_of_a_host_without_port_and_case() {
        let name = |text| name_of(&HeaderValue::from_static(text)).into_owned();
        assert_eq!(name("Shop.Example:8080"), "shop.example");
        assert_eq!(name("shop"), "shop");
        assert_eq!(name("[::1]:80"), "[::1]");
        assert_eq!(name(""), "");
    }
}
