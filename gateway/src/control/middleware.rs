//! The middleware of one plugin, as its routes get it.
//!
//! Where an entry cannot be carried out, routes that are served keep the chain that they have, and
//! others get one that nothing passes: neither goes without.

use std::{collections::BTreeMap, sync::Arc};

use forward_crds::{Middleware, MiddlewareSource, MiddlewareStatus};
use forward_plan::{
    middleware::{Chain as Plan, Entry, Provided, RateLimit},
    routes::{Offer, PluginId, Slot},
};

use crate::{
    callers::Callers,
    data::{
        ask::Callee,
        bulkhead::Bulkhead,
        chain::{Chain, Kept, Site},
        limit::Limiter,
        resilience::Target,
        snapshot,
    },
};

/// The middleware of a plugin.
#[derive(Debug, Default)]
pub struct Chains {
    plan: Plan,
    /// The chains that routes have, by route.
    served: BTreeMap<Slot, Option<Arc<Chain>>>,
    counters: Counters,
}

/// What the entries of a plugin's chain share with other chains.
#[derive(Debug, Default)]
struct Counters {
    /// They go on while the limit is the same.
    limiters: BTreeMap<(MiddlewareSource, String), Arc<Limiter>>,
    bulkheads: BTreeMap<(MiddlewareSource, String), Arc<Bulkhead>>,
    /// The plugins that are asked, by their names and those of their middleware.
    callees: BTreeMap<(String, String), Arc<Callee>>,
}

/// All plugins, by their names, for those that name others. Absent ones are in it while they are named.
#[derive(Debug, Default)]
pub struct Targets(BTreeMap<PluginId, Arc<Target>>);

impl Targets {
    /// A plugin is there.
    pub fn add(&mut self, plugin: Arc<snapshot::Plugin>) {
        self.of(plugin.id.clone()).set(Some(plugin));
    }

    /// Whether a plugin may stand in for others: not one that asks more of who calls it than they do.
    pub fn permit(&mut self, id: &PluginId, may_stand_in: bool) {
        if let Some(target) = self.0.get(id) {
            target.permit(may_stand_in);
        }
    }

    /// A plugin is gone.
    pub fn remove(&mut self, id: &PluginId) {
        if let Some(target) = self.0.get(id) {
            target.set(None);
        }
        self.0.retain(|_, target| target.plugin().is_some() || Arc::strong_count(target) > 1);
    }

    /// The plugin of a name, now and later.
    pub fn of(&mut self, id: PluginId) -> Arc<Target> {
        self.0.entry(id).or_default().clone()
    }
}

/// What a chain of a plugin in `namespace` needs.
struct Shelf<'a> {
    counters: &'a mut Counters,
    targets: &'a mut Targets,
    namespace: &'a str,
}

impl Kept for Shelf<'_> {
    fn limiter(&mut self, entry: &Entry, limit: &RateLimit) -> Arc<Limiter> {
        let key = (entry.source, entry.name.clone());
        if let Some(limiter) = self.counters.limiters.get(&key).filter(|limiter| limiter.policy() == limit) {
            return limiter.clone();
        }
        let limiter = Arc::new(Limiter::new(&entry.name, limit.clone()));
        self.counters.limiters.insert(key, limiter.clone());
        limiter
    }

    fn bulkhead(&mut self, entry: &Entry) -> Arc<Bulkhead> {
        self.counters.bulkheads.entry((entry.source, entry.name.clone())).or_default().clone()
    }

    fn callee(&mut self, entry: &Entry) -> Option<Arc<Callee>> {
        self.counters.callees.get(&(entry.provider.clone()?, entry.name.clone())).cloned()
    }

    fn target(&mut self, name: &str) -> Arc<Target> {
        self.targets.of(PluginId::new(self.namespace, name))
    }
}

impl Chains {
    /// Take in what is declared for the plugin with this name. Whether routes may have to get another
    /// chain.
    pub fn declare(
        &mut self,
        name: &str,
        system: &[Middleware],
        plugin: &[Middleware],
        provided: Vec<(Provided<'_>, Arc<Callee>)>,
    ) -> bool {
        let (provided, callees): (Vec<_>, Vec<_>) = provided.into_iter().unzip();
        let keys = provided.iter().map(|it| (it.provider.to_owned(), it.entry.name.clone()));
        self.counters.callees = keys.zip(callees).collect();
        let plan = Plan::new(system, plugin, &provided).of_plugin(name);
        let differs = plan != self.plan;
        self.plan = plan;
        differs
    }

    /// Whether requests that have passed another plugin's chain may go to the plugin.
    pub fn may_stand_in(&self) -> bool {
        !self.plan.is_guarded_by_itself()
    }

    /// The chain of a route of a plugin.
    pub fn give(
        &mut self,
        slot: &Slot,
        plugin: &PluginId,
        callers: &Callers,
        targets: &mut Targets,
    ) -> Option<Arc<Chain>> {
        let is_refused = self.plan.refused().next().is_some();
        if let Some(served) = self.served.get(slot).filter(|_| is_refused) {
            return served.clone();
        }
        let Self { plan, served, counters } = self;
        let site = Site { plugin, callers, plain_paths: plan.is_guarded_in_part() };
        let entries = plan.of_route(&slot.path, slot.method);
        let is_some = site.plain_paths || entries.clone().next().is_some();
        let mut shelf = Shelf { counters, targets, namespace: &plugin.namespace };
        let chain = is_some.then(|| Arc::new(Chain::compile(entries, &site, &mut shelf)));
        served.insert(slot.clone(), chain.clone());
        chain
    }

    /// A route is no longer this plugin's.
    pub fn take(&mut self, slot: &Slot) {
        self.served.remove(slot);
    }

    /// The routes that have a chain.
    pub fn served(&self) -> Vec<Slot> {
        self.served.keys().cloned().collect()
    }

    /// What to tell of it.
    pub fn status(&self, offer: &Offer) -> Vec<MiddlewareStatus> {
        self.plan.status(offer)
    }
}

#[cfg(test)]
mod tests {
    use forward_plan::routes::{Method, Pattern};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_goes_on_counting_while_it_stays_the_same() {
        let slot = Slot {
            host: String::new(),
            path: "/x".parse::<Pattern>().unwrap().segments().to_vec(),
            method: Method::Get,
        };
        let mut chains = Chains::default();
        let mut counters = |requests: i64, status: i32| {
            let limit = json!({"name": "often", "rateLimit": {"requests": requests}});
            let other = json!({"name": "gone", "respond": {"status": status}});
            let entries: Vec<Middleware> = serde_json::from_value(json!([limit, other])).unwrap();
            chains.declare("pay", &[], &entries, Vec::new());
            let pay = PluginId::new("shop", "pay");
            chains.give(&slot, &pay, &Callers::default(), &mut Targets::default());
            chains.counters.limiters.values().next().unwrap().clone()
        };
        let first = counters(5, 410);
        assert!(Arc::ptr_eq(&first, &counters(5, 404)), "another entry has changed");
        assert!(!Arc::ptr_eq(&first, &counters(6, 404)));
    }

    #[test]
    fn a_name_leads_to_who_is_there() {
        let (mut targets, id) = (Targets::default(), PluginId::new("shop", "spare"));
        let named = targets.of(id.clone());
        assert!(named.get().is_none());
        targets.add(snapshot::Plugin::new(id.clone(), 1));
        assert!(named.get().is_none(), "it is not known yet whom it asks");
        targets.permit(&id, true);
        assert_eq!(named.get().unwrap().id, id);
        targets.remove(&id);
        assert!(named.get().is_none() && targets.0.len() == 1, "it is named still");
        drop(named);
        targets.remove(&id);
        assert!(targets.0.is_empty());
    }
}
