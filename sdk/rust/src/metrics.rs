//! The plugin's metrics, in the text format of Prometheus.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, header};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::pattern;

/// Where they are read.
pub const PATH: &str = "/metrics";

/// The media type of what is read there: OpenMetrics 1.0.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the times that requests take, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

type Labels = Vec<(&'static str, String)>;

/// What can be measured of a plugin. Whoever scrapes reads it at `GET /metrics` of the plugin's
/// port; it is not announced to the gateway. Each route's requests are counted and timed without
/// the plugin's doing.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = Family::<Labels, Counter>::default();
        let durations = Family::<_, Histogram, _>::new_with_constructor(
            (|| Histogram::new(SECONDS)) as fn() -> Histogram,
        );
        let mut registry = Registry::default();
        registry.register("plugin_http_requests", "Requests by route and status", requests.clone());
        registry.register(
            "plugin_http_request_seconds",
            "Time from a request's head to its answer's head, by route",
            durations.clone(),
        );
        Self { registry: Arc::new(Mutex::new(registry)), requests, durations }
    }

    /// Shows one more metric, of which the plugin keeps a clone. `name` has its unit at the end
    /// (`_seconds`, `_bytes`) and no `_total`, which counters get by themselves; `help` is a
    /// sentence without a full stop.
    ///
    /// ```no_run
    /// use forward_sdk::{Metrics, prometheus_client::metrics::counter::Counter};
    ///
    /// fn count_orders(metrics: &Metrics) -> Counter {
    ///     let orders = Counter::default();
    ///     metrics.register("orders", "Orders that were taken", orders.clone());
    ///     orders
    /// }
    /// ```
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// Answers whoever scrapes.
pub async fn show(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Counts and times a request that a route answers.
pub async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|path| pattern::from_axum(path.as_str()));
    let method = method(request.method()).to_owned();
    let response = next.run(request).await;
    // Paths that no route has are without number.
    if let Some(route) = route {
        let status = response.status().as_str().to_owned();
        let labels = vec![("method", method), ("route", route.clone()), ("status", status)];
        metrics.requests.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&vec![("route", route)]).observe(begin.elapsed().as_secs_f64());
    }
    response
}

/// A method as a label. Clients may make up methods of their own.
fn method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(method) { method.as_str() } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_was_registered() {
        let metrics = Metrics::new();
        let orders = Counter::<u64>::default();
        metrics.register("orders", "Orders that were taken", orders.clone());
        orders.inc();
        assert!(metrics.text().unwrap().contains("\norders_total 1\n"), "{:?}", metrics.text());
    }
}
