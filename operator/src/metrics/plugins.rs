//! How the plugins are, read from the index whenever somebody asks. Only the replica that leads
//! tells, so that each plugin is counted once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, Weak, atomic::AtomicI64},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        gauge::{ConstGauge, Gauge},
    },
};

use super::word;
use crate::{
    index::{Index, Standing, lock},
    queue::Queue,
};

/// The index to read, and the queue to it. The index ends with whoever acts on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Source(Arc<Mutex<(Weak<Mutex<Index>>, Queue)>>);

#[derive(Debug)]
pub(super) struct Plugins {
    source: Source,
    leading: Gauge<i64, AtomicI64>,
}

impl Source {
    pub(super) fn follow(&self, index: &Arc<Mutex<Index>>, queue: &Queue) {
        *lock(&self.0) = (Arc::downgrade(index), queue.clone());
    }

    /// How all plugins stand, and how many wait.
    fn read(&self) -> (Vec<Standing>, usize) {
        let (index, queue) = lock(&self.0).clone();
        let Some(index) = index.upgrade() else { return Default::default() };
        let index = lock(&index);
        (index.standings(), queue.len())
    }
}

impl Plugins {
    pub(super) fn new(source: &Source, leading: &Gauge<i64, AtomicI64>) -> Self {
        Self { source: source.clone(), leading: leading.clone() }
    }
}

impl Collector for Plugins {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let leads = self.leading.get() == 1;
        let (standings, waiting) = if leads { self.source.read() } else { Default::default() };
        let help = "Plugins that are to be reconciled now, and whose turn has not come";
        let metric = encoder.encode_descriptor("queue_length", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(waiting).unwrap_or(i64::MAX)).encode(metric)?;
        let mut counts = BTreeMap::<_, i64>::new();
        for Standing { state, reason, .. } in &standings {
            *counts.entry((format!("{state:?}"), word(reason))).or_default() += 1;
        }
        let help = "Plugins by state and by the reason of Ready";
        let mut metric = encoder.encode_descriptor("plugins", help, None, MetricType::Gauge)?;
        for ((state, reason), count) in &counts {
            let labels = [("state", state.as_str()), ("reason", *reason)];
            ConstGauge::new(*count).encode(metric.encode_family(&labels)?)?;
        }
        let help = "1 for a plugin that is ready, and why it is or is not";
        let mut metric = encoder.encode_descriptor("plugin_ready", help, None, MetricType::Gauge)?;
        for Standing { plugin, ready, reason, .. } in &standings {
            let labels = [("plugin", plugin.as_str()), ("reason", word(reason))];
            ConstGauge::new(i64::from(*ready)).encode(metric.encode_family(&labels)?)?;
        }
        let help = "1 for a plugin that has failed for good";
        let mut metric = encoder.encode_descriptor("plugin_stalled", help, None, MetricType::Gauge)?;
        for Standing { plugin, stalled, .. } in &standings {
            let labels = [("plugin", plugin.as_str())];
            ConstGauge::new(i64::from(*stalled)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
