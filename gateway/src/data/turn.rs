//! A request's turn at an endpoint: which one, and what its circuit learns of what came of it.

use std::{
    rc::Rc,
    sync::{Arc, PoisonError},
};

use forward_plan::middleware::CircuitBreaker;

use super::{
    balance::{Nobody, pick},
    circuit::Outcome,
    clock::Tick,
    exchange::Failure,
    snapshot::{Endpoint, Plugin},
    stats::Measure,
    worker::Worker,
};

/// A request's turn. One that ends without a word, because its client is gone, says nothing of the
/// endpoint.
pub struct Turn<'a> {
    worker: &'a Rc<Worker>,
    plugin: &'a Plugin,
    policy: &'a CircuitBreaker,
    endpoint: Arc<Endpoint>,
    /// The endpoint was ejected, and is tried with this.
    trial: bool,
}

impl<'a> Turn<'a> {
    /// At an endpoint that is not among `tried`.
    pub fn take(
        worker: &'a Rc<Worker>,
        plugin: &'a Plugin,
        policy: &'a CircuitBreaker,
        tried: &[u64],
    ) -> Result<Self, Failure> {
        let endpoints = plugin.endpoints();
        let (endpoint, trial) = pick(&endpoints, tried, policy, worker.clock.now(), &worker.dice).map_err(
            |nobody| match nobody {
                Nobody::Absent => Failure::NoEndpoint,
                Nobody::Ejected(wait) => Failure::Open(wait),
            },
        )?;
        Ok(Self { worker, plugin, policy, endpoint: endpoint.clone(), trial })
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// It is over.
    pub fn end(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Self { worker, plugin, policy, endpoint, trial } = self;
        if plugin.settle(endpoint, outcome, *trial, policy, worker.clock.now()) {
            plugin.stats[worker.index].measure(Measure::Eject);
            tracing::info!(plugin = plugin.label, pod = endpoint.pod, "ejected a pod that fails");
        }
        *trial = false;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.settle(Outcome::Unknown);
        }
    }
}

impl Plugin {
    /// Take in what became of a request to an endpoint. Whether the endpoint was ejected for it.
    pub fn settle(
        &self,
        endpoint: &Endpoint,
        outcome: Outcome,
        trial: bool,
        policy: &CircuitBreaker,
        now: Tick,
    ) -> bool {
        // Two that fail at the same time must not both be the last that may be ejected.
        let failed = outcome == Outcome::Failed;
        let _deciding = failed.then(|| self.ejecting.lock().unwrap_or_else(PoisonError::into_inner));
        endpoint.circuit.settle(outcome, trial, policy, now, || self.may_eject(policy))
    }

    /// How many endpoints are ejected.
    pub fn ejected(&self) -> usize {
        self.endpoints().iter().filter(|endpoint| !endpoint.circuit.is_closed()).count()
    }

    fn may_eject(&self, policy: &CircuitBreaker) -> bool {
        let all = self.endpoints().len();
        let most = if policy.may_refuse() {
            all
        } else {
            (all * usize::from(policy.max_ejected) / 100).max(1).min(all.saturating_sub(1))
        };
        self.ejected() < most
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use forward_plan::routes::PluginId;

    use super::*;

    #[test]
    fn ejects_a_share_of_the_endpoints_and_the_last_one_only_where_that_is_wanted() {
        for (count, max_ejected, expected) in [
            (1, 50, 0),
            (2, 50, 1),
            (3, 50, 1),
            (4, 50, 2),
            (10, 25, 2),
            (3, 1, 1),
            (2, 99, 1),
            (1, 100, 1),
            (3, 100, 3),
        ] {
            let plugin = Plugin::new(PluginId::new("n", "p"), 1);
            let ready: Vec<(String, SocketAddr)> =
                (0..count).map(|port| (port.to_string(), ([127, 0, 0, 1], port).into())).collect();
            plugin.set_endpoints(&ready);
            let policy = CircuitBreaker { failures: 1, max_ejected, ..CircuitBreaker::default() };
            for endpoint in plugin.endpoints().iter() {
                plugin.settle(endpoint, Outcome::Failed, false, &policy, 0);
            }
            assert_eq!(plugin.ejected(), expected, "{count} with {max_ejected} %");
        }
    }

    #[test]
    fn threads_that_fail_together_eject_no_more_than_that() {
        for _ in 0..50 {
            let plugin = Plugin::new(PluginId::new("n", "p"), 1);
            let at = |port: u16| (port.to_string(), SocketAddr::from(([127, 0, 0, 1], port)));
            plugin.set_endpoints(&[at(1), at(2), at(3), at(4)]);
            let policy = CircuitBreaker { failures: 1, ..CircuitBreaker::default() };
            let pods = plugin.endpoints().clone();
            std::thread::scope(|scope| {
                for pod in pods.iter() {
                    let (plugin, policy) = (&plugin, &policy);
                    scope.spawn(move || plugin.settle(pod, Outcome::Failed, false, policy, 0));
                }
            });
            assert_eq!(plugin.ejected(), 2);
        }
    }
}
