//! The plugin's one port: the contract, the probes and the plugin's own routes, over HTTP/1.1 and
//! HTTP/2 without TLS.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use forward_proto::plugin::v1::{middleware_server::MiddlewareServer, plugin_server::PluginServer};
use http::{HeaderValue, StatusCode, Version, header};
use tokio::net::{TcpListener, TcpSocket};
use tonic_health::pb::health_server::HealthServer;
use tower::ServiceExt;

use crate::{
    Plugin, Problem, TraceContext,
    contract::{Asked, Contract},
    environment::Environment,
    host::Host,
    metrics,
    panics::catch,
    phase::Phase,
    probes::Probes,
};

/// How long a request that came too early should wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// How many connections may wait to be accepted, if the kernel's own bound (net.core.somaxconn) is no
/// lower. With the usual 128 many clients at once are reset where the plugin is busy for a moment.
const BACKLOG: u32 = 4096;

/// Takes the port, on IPv4 alone where there is no IPv6.
pub fn bind(environment: &Environment) -> io::Result<TcpListener> {
    let [every, v4] = environment.listen();
    match listen(TcpSocket::new_v6, every) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => listen(TcpSocket::new_v4, v4),
        result => result,
    }
}

fn listen(socket: fn() -> io::Result<TcpSocket>, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket()?;
    // As what the standard library binds: a port is free again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the phase is Closed and all requests are answered.
pub async fn serve<P: Plugin>(listener: TcpListener, host: Arc<Host<P>>) -> io::Result<()> {
    let mut phases = host.phases();
    let closed = async move {
        // An error says that the phases have ended, and with them the process.
        drop(phases.wait_for(|phase| *phase >= Phase::Closed).await);
    };
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps delaying small packets");
        }
    });
    axum::serve(listener, surface(host)).with_graceful_shutdown(closed).await
}

fn surface<P: Plugin>(host: Arc<Host<P>>) -> Router {
    tonic::service::Routes::new(PluginServer::new(Contract(host.clone())))
        .add_service(MiddlewareServer::new(Asked(host.clone())))
        .add_service(HealthServer::new(Probes(host.phases())))
        .prepare()
        .into_axum_router()
        .fallback_service(Router::new().fallback(gate::<P>).with_state(host.clone()))
        .layer(from_fn_with_state(host, say_goodbye::<P>))
}

/// Lets requests through to the plugin's routes once it has started.
async fn gate<P: Plugin>(State(host): State<Arc<Host<P>>>, request: Request) -> Response {
    let guest = match host.guest() {
        Some(guest) if host.phase().serves() => guest,
        _ => return too_early(),
    };
    // Whoever scrapes asks nothing of the plugin.
    if request.uri().path() != metrics::PATH {
        host.process.asked();
    }
    let router = guest.routes.router(authority(&request));
    #[cfg(feature = "otel")]
    let (span, request) = {
        let (head, body) = request.into_parts();
        let span = host.spans.as_ref().map(|spans| spans.begin(&head));
        (span, Request::from_parts(head, body))
    };
    let trace = TraceContext::of(request.headers());
    #[cfg(feature = "otel")]
    let trace = span.as_ref().map_or(trace, |span| span.trace());
    let answer = catch(router.oneshot(request));
    let answered = match trace {
        Some(trace) => trace.scope(answer).await,
        None => answer.await,
    };
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the plugin failed to answer").into_response()
        }
    };
    #[cfg(feature = "otel")]
    if let Some(span) = span {
        span.end(&response);
    }
    response
}

fn too_early() -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the plugin has not started yet");
    ([(header::RETRY_AFTER, RETRY_AFTER)], problem).into_response()
}

/// The host that a request is for: in its target (HTTP/2) or in its header.
fn authority(request: &Request) -> &str {
    let header = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(http::uri::Authority::as_str).or_else(header).unwrap_or_default()
}

/// Towards the end of draining, answers end their connection. (HTTP/2 says so by itself, in a frame
/// of its own, when the phase is Closed.)
async fn say_goodbye<P: Plugin>(State(host): State<Arc<Host<P>>>, request: Request, next: Next) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if host.phase().says_goodbye() && version <= Version::HTTP_11 && !is_upgrade {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
