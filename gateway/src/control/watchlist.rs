//! What there is to tell receivers of alerts, by namespace: kept with each object that comes, so that
//! asking for it costs no more than there is.

use std::{collections::BTreeMap, sync::Arc};

use forward_crds::{Alerts, Plugin, PluginSystem, SYSTEM_NAME};
use forward_plan::{
    alerts::{Alert, raised},
    routes::PluginId,
};
use kube::ResourceExt;

/// The alerts of all namespaces.
#[derive(Debug, Default)]
pub struct Watchlist {
    systems: BTreeMap<String, System>,
    /// Only of plugins with which something is wrong.
    raised: BTreeMap<PluginId, Vec<Alert>>,
}

#[derive(Debug)]
struct System {
    uid: String,
    alerts: Arc<Alerts>,
}

/// A namespace with somebody to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    pub namespace: String,
    /// Of the PluginSystem.
    pub uid: String,
    pub alerts: Arc<Alerts>,
    /// What is wrong, however short a time.
    pub raised: Vec<Alert>,
}

impl Watchlist {
    pub fn set_system(&mut self, system: &PluginSystem) {
        match &system.spec.alerts {
            Some(alerts) if system.name_any() == SYSTEM_NAME && !alerts.receivers.is_empty() => {
                let (uid, alerts) = (system.uid().unwrap_or_default(), Arc::new(alerts.clone()));
                self.systems.insert(system.namespace().unwrap_or_default(), System { uid, alerts });
            }
            _ => self.delete_system(system),
        }
    }

    pub fn delete_system(&mut self, system: &PluginSystem) {
        if system.name_any() == SYSTEM_NAME {
            self.systems.remove(&system.namespace().unwrap_or_default());
        }
    }

    pub fn set_plugin(&mut self, id: &PluginId, plugin: &Plugin) {
        match raised(plugin) {
            // What is being deleted is not to be as it should be.
            _ if plugin.metadata.deletion_timestamp.is_some() => self.delete_plugin(id),
            alerts if alerts.is_empty() => self.delete_plugin(id),
            alerts => {
                self.raised.insert(id.clone(), alerts);
            }
        }
    }

    pub fn delete_plugin(&mut self, id: &PluginId) {
        self.raised.remove(id);
    }

    /// The namespaces with somebody to tell, of those that are ours by the UIDs of their PluginSystems.
    pub fn watched(&self, is_ours: impl Fn(&str) -> bool) -> Vec<Watched> {
        let ours = self.systems.iter().filter(|(_, system)| is_ours(&system.uid));
        ours.map(|(namespace, System { uid, alerts })| {
            let first = PluginId::new(namespace.clone(), "");
            let plugins = self.raised.range(first..).take_while(|(id, _)| id.namespace == *namespace);
            let raised = plugins.flat_map(|(_, alerts)| alerts.iter().cloned()).collect();
            Watched { namespace: namespace.clone(), uid: uid.clone(), alerts: alerts.clone(), raised }
        })
        .collect()
    }
}
