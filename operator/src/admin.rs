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
    let router = router(metrics, ready);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let stopped = async move {
        // An error means that the sender is gone, which is a stop too.
        stop.wait_for(|stop| *stop).await.ok();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.context("serve the admin port")
}

fn router(metrics: Arc<Metrics>, ready: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready))
        .route("/metrics", get(render).with_state(metrics))
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

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn is_alive_at_once_and_ready_when_it_seeks_the_lease() {
        let (ready, is_ready) = watch::channel(false);
        let router = router(Arc::new(Metrics::new()), is_ready);
        assert_eq!(ask(&router, "/livez").await.0, StatusCode::OK);
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        ready.send_replace(true);
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn counts_writes_by_kind() {
        let metrics = Arc::new(Metrics::new());
        metrics.wrote("Deployment");
        let (_ready, is_ready) = watch::channel(true);
        let (status, text) = ask(&router(metrics, is_ready), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("forward_operator_writes_total{kind=\"Deployment\",verb=\"apply\"} 1"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
