//! The plugin: its parts, its routes, its health.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forward_sdk::{Context, Error, Health, Middleware, Plugin, Routes, tracing};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{interval, timeout},
};

use crate::{
    closing,
    config::{Config, Settings},
    dashboard,
    live::Feed,
    metrics::Metrics,
    requests, routes,
    storage::{self, Storage},
};

/// The most streams of one pod.
pub const STREAMS: usize = 256;
/// How often old events are forgotten.
const TIDYING: Duration = Duration::from_secs(60);
/// How long health waits for the storage.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct AnalyticsTracker {
    pub settings: Settings,
    pub storage: Arc<dyn Storage>,
    pub feed: Feed,
    pub metrics: Metrics,
    pub closing: watch::Receiver<bool>,
    /// The places for streams that are free.
    pub places: Arc<Semaphore>,
    /// Where requests for other plugins go, as events.
    pub requests: mpsc::Sender<Value>,
}

impl Plugin for AnalyticsTracker {
    type Config = Config;

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        let settings = Settings::try_from(config)?;
        let closing = closing::watch(context);
        let storage = storage::open(&settings).await?;
        let metrics = Metrics::new(context.metrics());
        tokio::spawn(tidy(storage.clone(), settings.clone(), metrics.clone()));
        Ok(Self {
            feed: Feed::start(storage.clone(), closing.clone()),
            places: Arc::new(Semaphore::new(STREAMS)),
            requests: requests::keep(storage.clone(), settings.clone(), metrics.clone()),
            settings,
            storage,
            metrics,
            closing,
        })
    }

    fn routes(&self) -> Routes<Self> {
        Routes::new()
            .post("/api/analytics/track", routes::track)
            .describe("Takes one event or a batch of them.")
            .post("/api/analytics/query", routes::query)
            .describe("Counts, sums and compares events.")
            .get("/api/analytics/realtime", routes::realtime)
            .describe("Events as they come, as server-sent events.")
            .get("/api/analytics/dashboard", dashboard::show)
            .describe("A page that shows what happens.")
    }

    fn middleware(&self) -> Middleware<Self> {
        requests::middleware(&self.settings)
    }

    async fn health(&self) -> Health {
        let begin = Instant::now();
        let extent = timeout(PATIENCE, self.storage.extent()).await;
        let latency = begin.elapsed();
        let health = match extent {
            Ok(Ok(extent)) => Health::healthy()
                .detail("events_kept", extent.kept())
                .detail("events_forgotten", extent.forgotten())
                .detail("storage_latency", format!("{:.1} ms", latency.as_secs_f64() * 1e3)),
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the storage is away");
                Health::unhealthy(format!("{} cannot be reached", self.storage.name()))
            }
            Err(_) => Health::unhealthy(format!("{} does not answer", self.storage.name())),
        };
        health
            .detail("storage", self.storage.name())
            .detail("streams", self.metrics.streams.get())
            .detail("streams_dropped", self.metrics.streams_dropped.get())
    }
}

/// Forgets old events, for as long as the process lives.
async fn tidy(storage: Arc<dyn Storage>, settings: Settings, metrics: Metrics) {
    let mut ticks = interval(TIDYING);
    loop {
        ticks.tick().await;
        let moment = storage::horizon(Timestamp::now(), settings.retention);
        match timeout(TIDYING, storage.forget_before(moment)).await {
            Ok(Ok(forgotten)) => {
                metrics.expired.inc_by(forgotten);
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old events cannot be forgotten");
            }
            Err(_) => tracing::warn!("forgetting old events takes too long; it goes on in a minute"),
        }
    }
}
