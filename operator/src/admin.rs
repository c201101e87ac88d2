//! `/livez`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch};

use crate::metrics::Metrics;

/// Answer until `stop` turns true. A replica is ready once it seeks the Lease: the one that waits
/// for it is ready to take over.
pub async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    ready: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready))
        .route("/metrics", get(render).with_state(metrics));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let stopped = async move {
        // An error means that the sender is gone, which is a stop too.
        stop.wait_for(|stop| *stop).await.ok();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.context("serve the admin port")
}

async fn readyz(State(ready): State<watch::Receiver<bool>>) -> impl IntoResponse {
    if *ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

async fn render(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.render() {
        Ok(text) => (
            StatusCode::OK,
            [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
