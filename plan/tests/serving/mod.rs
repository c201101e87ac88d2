//! What is observed of a plugin that serves.

use forward_crds::Plugin;
use forward_plan::{Observed, Settings, Workload, revision};

/// One replica that serves `version`: the current spec under these settings, or an older one.
pub fn serving(plugin: &Plugin, version: &str, settings: &Settings) -> Observed {
    let is_current = version == plugin.spec.version;
    let workload = Workload {
        revision: if is_current { revision(plugin, settings).into() } else { "older".into() },
        version: version.into(),
        replicas: 1,
        total_replicas: 1,
        updated_replicas: 1,
        ready_replicas: 1,
        rolled_out: true,
        ..Workload::default()
    };
    Observed { workload: Some(workload), ..Observed::default() }
}
