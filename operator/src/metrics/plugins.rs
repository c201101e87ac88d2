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
use crate::index::{Index, Standing, lock};

/// The index to read. It ends with whoever acts on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Source(Arc<Mutex<Weak<Mutex<Index>>>>);

#[derive(Debug)]
pub(super) struct Plugins {
    source: Source,
    leading: Gauge<i64, AtomicI64>,
}

impl Source {
    pub(super) fn follow(&self, index: &Arc<Mutex<Index>>) {
        *lock(&self.0) = Arc::downgrade(index);
    }

    fn standings(&self) -> Vec<Standing> {
        let index = lock(&self.0).upgrade();
        index.map(|index| lock(&index).standings()).unwrap_or_default()
    }
}

impl Plugins {
    pub(super) fn new(source: &Source, leading: &Gauge<i64, AtomicI64>) -> Self {
        Self { source: source.clone(), leading: leading.clone() }
    }
}

impl Collector for Plugins {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let standings = if self.leading.get() == 1 { self.source.standings() } else { Vec::new() };
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
