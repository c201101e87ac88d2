//! What the gateway is told: flags, each with an environment variable of the same meaning.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::Parser;
use forward_crds::Duration;
use forward_plan::Cidr;

use crate::{
    alerts::post::Plain,
    data::worker::{AccessLog, Settings},
    debug::loopback,
};

/// Registers what plugins offer and carries the traffic.
#[derive(Debug, Parser)]
#[command(name = "forward-gateway", version)]
pub struct Args {
    /// Where requests are answered.
    #[arg(long, env = "FORWARD_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where requests over TLS are answered, if there are certificates.
    #[arg(long, env = "FORWARD_TLS_LISTEN", default_value = "0.0.0.0:8443")]
    pub tls_listen: SocketAddr,
    /// A folder of folders, each with a tls.crt and a tls.key. Absent: no TLS.
    #[arg(long, env = "FORWARD_TLS_CERTIFICATES")]
    pub tls_certificates: Option<PathBuf>,
    /// A folder with a ca.crt: clients are asked for a certificate that one of its authorities has
    /// signed. Absent: they are not asked.
    #[arg(long, env = "FORWARD_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,
    /// A folder of folders, each with a keys.yaml: what callers with keys are known by. Absent: none.
    #[arg(long, env = "FORWARD_API_KEYS")]
    pub api_keys: Option<PathBuf>,
    /// A file with the authorities that are trusted where issuers' keys are fetched, and where receivers
    /// of alerts are told. Absent: those that browsers trust.
    #[arg(long, env = "FORWARD_JWKS_CA")]
    pub jwks_ca: Option<PathBuf>,
    /// Where alerts may be sent without TLS: `http://host:port` each, or with the path under which,
    /// without which it is any. Absent: nowhere.
    #[arg(long, env = "FORWARD_PLAIN_RECEIVERS", value_delimiter = ',')]
    pub plain_receivers: Vec<Plain>,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "FORWARD_ADMIN", default_value = "0.0.0.0:9090")]
    pub admin: SocketAddr,
    /// Where /debug is answered, on the loopback: who may forward a port to the pod reaches it.
    #[arg(long, env = "FORWARD_DEBUG", default_value = "127.0.0.1:9091", value_parser = loopback)]
    pub debug: SocketAddr,
    /// The gateway's own Service, by which replicas find each other.
    #[arg(long, env = "FORWARD_SERVICE", default_value = "forward-gateway")]
    pub service: String,
    /// Threads that carry traffic. Absent: as many as there are cores.
    #[arg(long, env = "FORWARD_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// How long to go on accepting connections when told to stop, so that load balancers notice.
    #[arg(long, env = "FORWARD_DRAIN", default_value = "5s")]
    pub drain: Duration,
    /// How long a plugin may take from the end of a request to the head of its answer.
    #[arg(long, env = "FORWARD_UPSTREAM_TIMEOUT", default_value = "30s")]
    pub upstream_timeout: Duration,
    /// How many connections clients may have: one more is closed.
    #[arg(long, env = "FORWARD_MAX_CONNECTIONS", default_value = "16384")]
    pub max_connections: NonZeroUsize,
    /// How many of them one client may have, which is an address, or a /64 of IPv6; trusted proxies may have
    /// more. Absent: all.
    #[arg(long, env = "FORWARD_MAX_CONNECTIONS_PER_CLIENT")]
    pub max_connections_per_client: Option<NonZeroUsize>,
    /// Addresses of proxies whose word about the client is believed, such as 10.0.0.0/8.
    #[arg(long, env = "FORWARD_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Cidr>,
    /// Of which requests a line is logged.
    #[arg(long, env = "FORWARD_ACCESS_LOG", default_value = "None")]
    pub access_log: AccessLog,
    /// Where spans of requests are sent by OTLP over gRPC, such as http://collector:4317. Absent: no
    /// traces are kept.
    #[arg(long, env = "FORWARD_TRACING_ENDPOINT")]
    pub tracing_endpoint: Option<String>,
    /// Of which share of the traces that begin at the gateway spans are kept, from 0 to 1.
    #[arg(long, env = "FORWARD_TRACING_SAMPLE_RATIO", default_value = "0.01", value_parser = ratio)]
    pub tracing_sample_ratio: f64,
    /// This replica's name.
    #[arg(long, env = "POD_NAME", default_value = "forward-gateway")]
    pub name: String,
    /// The namespace of this replica.
    #[arg(long, env = "POD_NAMESPACE", default_value = "forward-system")]
    pub namespace: String,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("{text:?} is not a number from 0 to 1")),
    }
}

impl Args {
    /// How many threads carry traffic.
    pub fn workers(&self) -> usize {
        self.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }

    /// What the traffic is carried by.
    pub fn settings(&self) -> Settings {
        Settings {
            upstream_timeout: self.upstream_timeout.get(),
            trusted: self.trusted_proxies.clone(),
            access_log: self.access_log,
            max_connections: self.max_connections.get(),
            max_connections_per_client: self.max_connections_per_client,
            ..Settings::default()
        }
    }
}
