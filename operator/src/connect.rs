//! Connections to the API server.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::{Method, Request};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

use crate::lease::{MARGIN, Mandate, may_act};

/// How long what was sent may stay without the API server's acknowledgement (TCP's, not HTTP's)
/// before the connection is given up and what is not received is thrown away. Without it the kernel
/// would go on for a quarter of an hour: a write of a replica that was cut off and has stopped acting
/// would arrive when the network is back, after those of its successor.
const UNRECEIVED: Duration = MARGIN;

/// Why a write was not sent.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead, so it writes nothing")]
struct NoMandate;

/// A client for what the leader does: it writes while `mandate` lasts, asks again what the API server
/// was too busy for, and always reads.
pub fn connect_leader(config: &Config, mandate: Mandate) -> Result<Client> {
    connect(config, true, move |request: &Request<Body>| {
        request.method() == Method::GET || may_act(&mandate.borrow())
    })
}

/// A client that does not ask again: for the Lease, where an answer that comes late is worse than none.
pub fn connect_once(config: &Config) -> Result<Client> {
    connect(config, false, |_: &Request<Body>| true)
}

/// A client that sends what `may_pass`.
fn connect<F>(config: &Config, retry: bool, may_pass: F) -> Result<Client>
where
    F: Fn(&Request<Body>) -> bool + Clone + Send + Sync + 'static,
{
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    tcp.set_tcp_user_timeout(Some(UNRECEIVED));
    let tls = config.rustls_https_connector_with_connector(tcp).context("set up TLS")?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer().context("set up authentication")?)
        .layer(config.extra_headers_layer().context("set up headers")?)
        .filter(
            move |request: Request<Body>| {
                if may_pass(&request) { Ok(request) } else { Err(BoxError::from(NoMandate)) }
            },
        )
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build::<_, Body>(tls));
    Ok(Client::new(service, &config.default_namespace))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, api::PostParams};
    use tokio::{net::TcpListener, sync::watch, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_leader_writes_while_its_mandate_lasts_and_always_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let server = axum::Router::new().fallback(async || axum::Json(serde_json::json!({})));
        tokio::spawn(axum::serve(listener, server).into_future());
        let (mandate, is_mandated) = watch::channel(None);
        let maps = Api::<ConfigMap>::namespaced(connect_leader(&config, is_mandated).unwrap(), "shop");
        let write = async || maps.create(&PostParams::default(), &ConfigMap::default()).await;
        let refused = |error: kube::Error| matches!(error, kube::Error::Service(e) if e.is::<NoMandate>());
        assert!(write().await.is_err_and(refused));
        maps.get("a").await.unwrap();
        mandate.send_replace(Some(Instant::now() + Duration::from_secs(60)));
        write().await.unwrap();
        // It has run out and nobody has said so: the process was stopped meanwhile.
        mandate.send_replace(Some(Instant::now()));
        assert!(write().await.is_err_and(refused));
        maps.get("a").await.unwrap();
    }
}
