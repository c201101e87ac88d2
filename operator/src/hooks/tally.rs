//! Counts what came of hooks. A run is counted when a status that no longer says that it is under way
//! was written, or its plugin was let go, and never twice:
//!
//! - A reconciliation that starts from a status of before that write finds it here among those that this
//!   process has counted.
//! - To every other process the first such write is the only one: it names the version of the plugin that
//!   it was made from, so that one that comes second is refused as a conflict, and counted by nobody.
//!   Who starts later reads the new status.
//!
//! A process that ends between the write and the count loses that count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use forward_crds::{HookName, HookOutcome, HookStatus};
use forward_plan::{HookRun, hook_ends, hook_runs};

use super::{HookKind, Ran};
use crate::{
    index::{Snapshot, lock},
    metrics::{HookEnd, Metrics},
    observe::ran,
    queue::Key,
};

/// The runs that were counted, by their ids, while their plugin's status is last known to say that they
/// are under way.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<Key, BTreeSet<String>>>);

/// Runs that are over and were not counted yet.
#[derive(Debug)]
pub struct Ends {
    plugin: Key,
    ends: Vec<End>,
}

#[derive(Debug)]
struct End {
    id: String,
    hook: HookName,
    kind: HookKind,
    end: HookEnd,
    took: Option<Duration>,
}

impl Tally {
    /// The runs of a plugin that are over by what was decided.
    pub fn ends(&self, id: &Key, snapshot: &Snapshot) -> Ends {
        let Snapshot { plugin, live, decision, .. } = snapshot;
        let mut counted = lock(&self.0);
        if let Some(ids) = counted.get_mut(id) {
            let said = hook_runs(plugin);
            ids.retain(|id| said.contains(id));
            if ids.is_empty() {
                counted.remove(id);
            }
        }
        let before = counted.get(id);
        let is_new = |id: &String| before.is_none_or(|ids| !ids.contains(id));
        let over = hook_ends(plugin, &decision.hooks).into_iter().filter(|(id, _)| is_new(id));
        let end = |(id, record): (String, &HookStatus)| {
            let ran = ran(live, &id);
            let end = match (record.outcome, ran) {
                (HookOutcome::Succeeded, _) => HookEnd::Succeeded,
                (HookOutcome::Skipped, _) => HookEnd::Skipped,
                (_, Some(Ran { late: true, .. })) => HookEnd::Timeout,
                _ => HookEnd::Failed,
            };
            // Where nothing was seen of it, its image is not allowed.
            let kind = ran.map_or(HookKind::Job, |ran| ran.kind);
            End { hook: record.hook, kind, end, took: ran.and_then(|ran| ran.took), id }
        };
        Ends { plugin: id.clone(), ends: over.map(end).collect() }
    }

    /// Count them, as it is written that they are over.
    pub fn count(&self, ends: Ends, metrics: &Metrics) {
        let Ends { plugin, ends } = ends;
        let mut counted = lock(&self.0);
        for End { id, hook, kind, end, took } in ends {
            if counted.entry(plugin.clone()).or_default().insert(id) {
                metrics.hook_ended(hook, kind, end, took);
            }
        }
    }

    /// Take note that a plugin is gone.
    pub fn forget(&self, plugin: &Key) {
        lock(&self.0).remove(plugin);
    }
}

impl Ends {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl Ran {
    /// What is known of a run whose begin or end nobody saw.
    pub fn untimed(kind: HookKind, run: HookRun) -> Self {
        Self { run, kind, late: false, took: None }
    }
}
