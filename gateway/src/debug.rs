//! `/debug`: what the gateway goes by, which way a request would take, and how plugins fare.
//!
//! Owns what people see who look for why. Refuses to own what is decided: it tells what the data side
//! does. Its invariant: it is answered on the loopback alone, to requests for a name of the loopback,
//! and shows no secret.

pub mod config;
pub mod explain;
pub mod profile;
pub mod text;
pub mod told;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use forward_plan::routes::PluginId;
use serde::Serialize;
use tokio::net::TcpListener;

use self::{
    explain::explain,
    profile::Profiler,
    text::explained,
    told::{Profile, lines, page},
};
use crate::{
    control::{index::Handle, process::Processes},
    data::worker::Shared,
    tls::Tls,
};

/// What is shown from.
#[derive(Clone)]
pub struct Debug {
    pub shared: Arc<Shared>,
    pub index: Handle,
    pub profiler: Arc<Profiler>,
    pub processes: Processes,
    pub tls: Option<Arc<Tls>>,
}

type Pairs = Query<Vec<(String, String)>>;

/// Answer until dropped.
pub async fn serve(listener: TcpListener, debug: Debug) -> Result<()> {
    axum::serve(listener, router(debug)).await.context("serve /debug")
}

fn router(debug: Debug) -> Router {
    Router::new()
        .route("/debug/config", get(show_config))
        .route("/debug/explain", get(show_explanation))
        .route("/debug/plugins", get(show_plugins))
        .route("/debug/plugins/{namespace}/{name}", get(show_plugin))
        .with_state(debug)
        .layer(from_fn(own_names))
}

/// An address that nobody else's packets reach.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().map_err(|error| error.to_string())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!("{address} is not on the loopback, such as 127.0.0.1:9091")),
    }
}

/// A page in a browser can have its own name lead to the loopback, and so to a forwarded port.
async fn own_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    let name = authority.as_ref().map(|authority| authority.host().trim_matches(['[', ']']));
    match name {
        Some("localhost" | "127.0.0.1" | "::1") => next.run(request).await,
        _ => {
            let why = "the Host must be localhost, 127.0.0.1 or [::1]\n";
            (StatusCode::FORBIDDEN, why).into_response()
        }
    }
}

async fn show_config(State(debug): State<Debug>) -> Response {
    Json(config::config(&debug.shared, &debug.index, debug.tls.as_ref())).into_response()
}

async fn show_explanation(State(debug): State<Debug>, headers: HeaderMap, Query(pairs): Pairs) -> Response {
    let (mut method, mut host, mut path) = ("GET", "", None);
    let mut named = Vec::new();
    for (name, value) in &pairs {
        match (name.as_str(), value.split_once(':')) {
            ("method", _) => method = value,
            ("host", _) => host = value,
            ("path", _) => path = Some(value),
            ("header", Some((name, value))) => named.push((name.trim().to_owned(), value.trim().to_owned())),
            ("header", None) => return refuse(format!("header {value:?} is not 'name: value'")),
            ("format", _) => {}
            _ => return refuse(format!("{name:?} is none of method, host, path, header and format")),
        }
    }
    let Some(path) = path else { return refuse("path= is missing, such as path=/orders/7".to_owned()) };
    let head = match explain::request(method, host, path, &named) {
        Ok(head) => head,
        Err(why) => return refuse(why),
    };
    let explanation = explain(&debug.shared.snapshot.load(), head, |slot| debug.index.lock().losers(slot));
    tell(&headers, &pairs, &explanation, explained)
}

async fn show_plugins(State(debug): State<Debug>, headers: HeaderMap, Query(pairs): Pairs) -> Response {
    let plugins = debug.index.lock().serving();
    let profiles = plugins.iter().map(|plugin| Profile::of(plugin, &debug.profiler, &debug.processes));
    tell(&headers, &pairs, &profiles.collect::<Vec<_>>(), |profiles| lines(profiles))
}

async fn show_plugin(
    State(debug): State<Debug>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Response {
    let id = PluginId::new(namespace, name);
    let plugin = debug.index.lock().serving().into_iter().find(|plugin| plugin.id == id);
    match plugin {
        Some(plugin) => {
            let profile = Profile::of(&plugin, &debug.profiler, &debug.processes);
            tell(&headers, &pairs, &profile, page)
        }
        None => (StatusCode::NOT_FOUND, format!("there is no plugin {id}\n")).into_response(),
    }
}

fn refuse(why: String) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

/// JSON, or text where that is wanted.
fn tell<T: Serialize>(
    headers: &HeaderMap,
    pairs: &[(String, String)],
    it: &T,
    text: impl FnOnce(&T) -> String,
) -> Response {
    let format = pairs.iter().find(|(name, _)| name == "format").map(|(_, format)| format.as_str());
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match format {
        Some("text") => text(it).into_response(),
        None if accept.starts_with("text/plain") => text(it).into_response(),
        None | Some("json") => Json(it).into_response(),
        Some(other) => refuse(format!("format {other:?} is neither text nor json")),
    }
}
