//! What plugins provide for requests, and whom that concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use forward_crds::{MiddlewareScope, Plugin, ProvidedMiddleware};
use forward_plan::{
    middleware::{Provided, provided},
    routes::PluginId,
};

use crate::data::{ask::Callee, resilience::Target};

/// What the plugins provide that provide anything.
#[derive(Default)]
pub struct Providers(BTreeMap<PluginId, Provider>);

#[derive(Default)]
struct Provider {
    entries: Vec<ProvidedMiddleware>,
    /// By the middleware's name: whether it answers is known for as long as it is there.
    callees: BTreeMap<String, Arc<Callee>>,
}

/// The plugins of a namespace whose requests a change concerns.
#[derive(Debug, Default, PartialEq)]
pub struct Reach {
    all: bool,
    names: BTreeSet<String>,
}

impl Providers {
    /// Take in what a plugin provides now, and say whom a change concerns.
    pub fn set(
        &mut self,
        id: &PluginId,
        target: impl FnOnce() -> Arc<Target>,
        entries: Vec<ProvidedMiddleware>,
    ) -> Reach {
        if self.0.get(id).map_or(&[][..], |provider| &provider.entries) == entries {
            return Reach::default();
        }
        let Provider { entries: before, callees: earlier } = self.0.remove(id).unwrap_or_default();
        let reach = Reach::of(id, before.iter().chain(&entries));
        let target = target();
        let callees = entries.iter().map(|entry| {
            let name = entry.name.clone();
            let callee = earlier.get(&name).cloned();
            (name.clone(), callee.unwrap_or_else(|| Arc::new(Callee::new(id, target.clone(), name))))
        });
        let callees = callees.collect();
        if !entries.is_empty() {
            self.0.insert(id.clone(), Provider { entries, callees });
        }
        reach
    }

    /// A plugin is gone.
    pub fn remove(&mut self, id: &PluginId) -> Reach {
        Reach::of(id, &self.0.remove(id).unwrap_or_default().entries)
    }

    /// What there is for the requests of a plugin, with whom to ask.
    pub fn for_plugin(&self, id: &PluginId, leave: &[String]) -> Vec<(Provided<'_>, Arc<Callee>)> {
        let first = PluginId::new(id.namespace.clone(), "");
        let own = self.0.range(first..).take_while(|(provider, _)| provider.namespace == id.namespace);
        let providers = own.map(|(provider, it)| (provider.name.as_str(), it.entries.as_slice()));
        let callee = |provided: &Provided<'_>| {
            let provider = PluginId::new(id.namespace.clone(), provided.provider);
            self.0.get(&provider)?.callees.get(&provided.entry.name).cloned()
        };
        let provided = provided::for_plugin(&id.name, providers, leave);
        provided.into_iter().filter_map(|it| Some((it, callee(&it)?))).collect()
    }
}

impl Reach {
    fn of<'a>(id: &PluginId, entries: impl IntoIterator<Item = &'a ProvidedMiddleware>) -> Self {
        let mut reach = Self::default();
        for entry in entries {
            match entry.scope {
                MiddlewareScope::Own => drop(reach.names.insert(id.name.clone())),
                MiddlewareScope::Named => reach.names.extend(entry.plugins.iter().cloned()),
                MiddlewareScope::All => reach.all = true,
            }
        }
        reach
    }

    /// Whether it concerns a plugin.
    pub fn holds(&self, plugin: &str) -> bool {
        self.all || self.names.contains(plugin)
    }

    /// Whether it concerns nobody.
    pub fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }
}

/// The middleware that a plugin has announced, as its status has it.
pub fn announced(plugin: &Plugin) -> &[ProvidedMiddleware] {
    plugin.status.as_ref().map_or(&[], |status| &status.provides_middleware)
}
