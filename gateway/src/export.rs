//! Sends the spans of requests to a collector, by OTLP over gRPC.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use crate::data::span::Spans;

/// How many spans are sent together.
const BATCH: usize = 512;
/// How long to wait for so many.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends what comes.
pub struct Export {
    spans: Arc<Spans>,
    receiver: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    /// The last ones could not be sent: that is said once.
    failing: bool,
}

impl Export {
    /// To the collector at an `http://host:port`; it is connected to with the first spans.
    pub fn new(
        endpoint: &str,
        name: &str,
        spans: Arc<Spans>,
        receiver: mpsc::Receiver<SpanData>,
    ) -> Result<Self> {
        let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE);
        let mut exporter = builder.build().context("set up the export of traces")?;
        let resource = Resource::builder_empty().with_service_name("forward-gateway").with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", name.to_owned()),
        ]);
        exporter.set_resource(&resource.build());
        Ok(Self { spans, receiver, exporter, failing: false })
    }

    /// Send what comes until dropped.
    pub async fn run(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.receiver.recv_many(&mut batch, BATCH).await > 0 {
            let due = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let most = BATCH - batch.len();
                match timeout_at(due, self.receiver.recv_many(&mut batch, most)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Send what has come, before the process ends.
    pub async fn flush(&mut self) {
        let mut batch = Vec::new();
        while let Ok(span) = self.receiver.try_recv() {
            batch.push(span);
        }
        if !batch.is_empty() {
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let sent = match timeout(PATIENCE, self.exporter.export(batch)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the collector did not answer within {PATIENCE:?}")),
        };
        match sent {
            Ok(()) => {
                self.spans.sent.fetch_add(count, Relaxed);
                self.failing = false;
            }
            Err(error) => {
                self.spans.dropped.fetch_add(count, Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error, "cannot send the spans of requests");
                }
            }
        }
    }
}
