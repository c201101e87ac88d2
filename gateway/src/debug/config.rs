//! What the gateway goes by at the moment: plugins, routes with their middleware, hosts of TLS, and
//! limits. Names and numbers alone: nothing that is configured for a plugin or a middleware is shown
//! besides how much it lets through.

use std::sync::Arc;

use forward_plan::Cidr;
use serde::Serialize;

use super::explain::{Met, Pod, met, pods};
use crate::{
    control::index::Handle,
    data::{
        snapshot::{Placed, Plugin},
        worker::{Settings, Shared},
    },
    tls::Tls,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    snapshot_version: u64,
    workers: usize,
    /// Replicas that share the limits.
    replicas: u32,
    draining: bool,
    limits: Limits,
    /// Host names that there are certificates for; `None` without TLS.
    tls_hosts: Option<Vec<String>>,
    plugins: Vec<Known>,
    routes: Vec<Served>,
}

/// Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    upstream_timeout: f64,
    head_timeout: f64,
    idle_timeout: f64,
    stop_timeout: f64,
    trusted_proxies: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    plugin: String,
    healthy: bool,
    endpoints: Vec<Pod>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    /// Empty: every host.
    host: String,
    method: &'static str,
    path: String,
    plugin: String,
    middleware: Vec<Met>,
}

/// What holds now.
pub fn config(shared: &Shared, index: &Handle, tls: Option<&Arc<Tls>>) -> Config {
    let plugins = index.lock().serving();
    let snapshot = shared.snapshot.load();
    Config {
        snapshot_version: snapshot.version,
        workers: shared.workers(),
        replicas: shared.replicas(),
        draining: shared.is_draining(),
        limits: Limits::of(&shared.settings),
        tls_hosts: tls.map(|tls| tls.names()),
        plugins: plugins.iter().map(|plugin| Known::of(plugin)).collect(),
        routes: snapshot.routes().iter().map(Served::of).collect(),
    }
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        let Settings { upstream_timeout, head_timeout, idle_timeout, stop_timeout, trusted, .. } = settings;
        Self {
            upstream_timeout: upstream_timeout.as_secs_f64(),
            head_timeout: head_timeout.as_secs_f64(),
            idle_timeout: idle_timeout.as_secs_f64(),
            stop_timeout: stop_timeout.as_secs_f64(),
            trusted_proxies: trusted.iter().map(Cidr::to_string).collect(),
        }
    }
}

impl Known {
    fn of(plugin: &Plugin) -> Self {
        Self { plugin: plugin.label.clone(), healthy: !plugin.is_unhealthy(), endpoints: pods(plugin) }
    }
}

impl Served {
    fn of(Placed { host, method, route }: &Placed<'_>) -> Self {
        Self {
            host: (*host).to_owned(),
            method: method.as_str(),
            path: route.pattern.clone(),
            plugin: route.plugin.label.clone(),
            middleware: met(route.chain.as_deref()),
        }
    }
}
