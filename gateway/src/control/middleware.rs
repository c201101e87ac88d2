//! The middleware of one plugin, as its routes get it.
//!
//! Where an entry cannot be carried out, routes that are served keep the chain that they have, and
//! others get one that nothing passes: neither goes without.

use std::{collections::BTreeMap, sync::Arc};

use forward_crds::{Middleware, MiddlewareSource, MiddlewareStatus};
use forward_plan::{
    middleware::{Chain as Plan, Entry, RateLimit},
    routes::{Offer, PluginId, Slot},
};

use crate::{
    callers::Callers,
    data::{
        chain::{Chain, Site},
        limit::Limiter,
    },
};

/// The middleware of a plugin.
#[derive(Debug, Default)]
pub struct Chains {
    plan: Plan,
    /// The chains that routes have, by route.
    served: BTreeMap<Slot, Option<Arc<Chain>>>,
    /// The counters of its limits, which go on while the limit is the same.
    limiters: BTreeMap<(MiddlewareSource, String), Arc<Limiter>>,
}

impl Chains {
    /// Take in what is declared. Whether routes may have to get another chain.
    pub fn declare(&mut self, system: &[Middleware], plugin: &[Middleware]) -> bool {
        let plan = Plan::new(system, plugin);
        let differs = plan != self.plan;
        self.plan = plan;
        differs
    }

    /// The chain of a route of a plugin.
    pub fn give(&mut self, slot: &Slot, plugin: &PluginId, callers: &Callers) -> Option<Arc<Chain>> {
        let is_refused = self.plan.refused().next().is_some();
        if let Some(served) = self.served.get(slot).filter(|_| is_refused) {
            return served.clone();
        }
        let Self { plan, served, limiters } = self;
        let site = Site { plugin, callers, plain_paths: plan.is_guarded_in_part() };
        let mut entries = plan.of_route(&slot.path, slot.method).peekable();
        let chain = (entries.peek().is_some() || site.plain_paths).then(|| {
            Arc::new(Chain::compile(entries, &site, |entry, limit| limiter(limiters, entry, limit)))
        });
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

/// The counters of a limit: those that there are, unless they count something else.
fn limiter(
    limiters: &mut BTreeMap<(MiddlewareSource, String), Arc<Limiter>>,
    entry: &Entry,
    limit: &RateLimit,
) -> Arc<Limiter> {
    let key = (entry.source, entry.name.clone());
    if let Some(limiter) = limiters.get(&key).filter(|limiter| limiter.policy() == limit) {
        return limiter.clone();
    }
    let limiter = Arc::new(Limiter::new(&entry.name, limit.clone()));
    limiters.insert(key, limiter.clone());
    limiter
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
            chains.declare(&[], &entries);
            chains.give(&slot, &PluginId::new("shop", "pay"), &Callers::default());
            chains.limiters.values().next().unwrap().clone()
        };
        let first = counters(5, 410);
        assert!(Arc::ptr_eq(&first, &counters(5, 404)), "another entry has changed");
        assert!(!Arc::ptr_eq(&first, &counters(6, 404)));
    }
}
