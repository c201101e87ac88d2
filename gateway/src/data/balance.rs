//! Which endpoint gets a request: of two that are picked at random, the one with fewer requests
//! under way. Endpoints to which no connection came about lately are passed over while there
//! are others, and so are those that are ejected. Those that are unhealthy get nothing while there
//! are others.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use forward_plan::middleware::CircuitBreaker;

use super::{clock::Tick, snapshot::Endpoint};

/// Random numbers that nobody must not guess: for balancing and for ids. One per worker.
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Seeded differently each time.
    pub fn new() -> Self {
        Self(Cell::new(RandomState::new().hash_one(0)))
    }

    /// The next number (`SplitMix64`).
    pub fn roll(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of a range, for pauses of which some percent are waited so that not all end at once.
    pub fn within(&self, range: RangeInclusive<u8>) -> u8 {
        let (low, high) = range.into_inner();
        let above = self.below(usize::from(high.saturating_sub(low)) + 1);
        low + u8::try_from(above).expect("it is below what two bytes are apart")
    }

    fn below(&self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.roll() % bound).expect("the remainder is below a usize")
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

/// Why there is no endpoint to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// There is none that was not tried.
    Absent,
    /// All are ejected, and requests are to be refused then; one may be tried after so long.
    Ejected(Tick),
}

/// Choose an endpoint that is not among `tried`. True where that is a trial of one that was ejected.
pub fn pick<'a>(
    all: &'a [Arc<Endpoint>],
    tried: &[u64],
    policy: &CircuitBreaker,
    now: Tick,
    dice: &Dice,
) -> Result<(&'a Arc<Endpoint>, bool), Nobody> {
    let is_closed = |endpoint: &Endpoint| policy.failures == 0 || endpoint.circuit.is_closed();
    let quick = least_of_two(all, dice).ok_or(Nobody::Absent)?;
    if is_closed(quick) && !quick.is_unhealthy() && !quick.is_shunned(now) && !tried.contains(&quick.key) {
        return Ok((quick, false));
    }
    let mut able = all.iter().filter(|endpoint| !endpoint.is_unhealthy()).collect::<Vec<_>>();
    if able.is_empty() {
        // The others have gone, and the verdict on the plugin is still to come.
        able.extend(all);
    }
    let untried = able.iter().copied().filter(|endpoint| !tried.contains(&endpoint.key)).collect::<Vec<_>>();
    let mut good = untried.clone();
    good.retain(|endpoint| {
        !endpoint.is_shunned(now) && (is_closed(endpoint) || endpoint.circuit.is_due(now))
    });
    while let Some(picked) = least_of_two(&good, dice).copied() {
        if is_closed(picked) {
            return Ok((picked, false));
        }
        if picked.circuit.try_it(now) {
            return Ok((picked, true));
        }
        good.retain(|endpoint| endpoint.key != picked.key);
    }
    if policy.may_refuse() && !able.iter().any(|endpoint| is_closed(endpoint)) {
        let wait = able.iter().map(|endpoint| endpoint.circuit.wait(now)).min();
        return Err(Nobody::Ejected(wait.unwrap_or_default()));
    }
    // Better one that may fail than none.
    let closed = untried.iter().copied().filter(|endpoint| is_closed(endpoint)).collect::<Vec<_>>();
    let rest = if closed.is_empty() { &untried } else { &closed };
    least_of_two(rest, dice).map(|endpoint| (*endpoint, false)).ok_or(Nobody::Absent)
}

fn least_of_two<'a, E: AsRef<Endpoint>>(all: &'a [E], dice: &Dice) -> Option<&'a E> {
    match all {
        [] => None,
        [one] => Some(one),
        all => {
            let first = dice.below(all.len());
            let second = (first + 1 + dice.below(all.len() - 1)) % all.len();
            let load = |index: usize| all[index].as_ref().in_flight.load(Relaxed);
            Some(&all[if load(second) < load(first) { second } else { first }])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use forward_plan::routes::PluginId;

    use super::{
        super::{circuit::Outcome, snapshot::Plugin},
        *,
    };

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count).map(|port| Endpoint::new(port.to_string(), ([127, 0, 0, 1], port).into())).collect()
    }

    /// That ejects at the first failure, for a second.
    fn strict(max_ejected: u8) -> CircuitBreaker {
        CircuitBreaker {
            failures: 1,
            ejection: Duration::from_secs(1),
            max_ejected,
            ..CircuitBreaker::default()
        }
    }

    fn eject(endpoint: &Endpoint) {
        assert!(endpoint.circuit.settle(Outcome::Failed, false, &strict(100), 0, || true));
    }

    /// Which of them requests go to, by index, in a hundred times.
    fn picked(all: &[Arc<Endpoint>], tried: &[u64], policy: &CircuitBreaker) -> BTreeSet<usize> {
        let dice = Dice::new();
        let one = |_| {
            let (picked, trial) = pick(all, tried, policy, 0, &dice).unwrap();
            assert!(!trial);
            all.iter().position(|endpoint| endpoint.key == picked.key).unwrap()
        };
        (0..100).map(one).collect()
    }

    #[test]
    fn spreads_requests_and_avoids_the_busiest() {
        let (all, dice) = (endpoints(3), Dice::new());
        all[0].in_flight.store(100, Relaxed);
        let mut counts = [0; 3];
        for _ in 0..1_000 {
            let (picked, _) = pick(&all, &[], &CircuitBreaker::default(), 0, &dice).unwrap();
            counts[all.iter().position(|endpoint| endpoint.key == picked.key).unwrap()] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1] > 200 && counts[2] > 200, "{counts:?}");
    }

    #[test]
    fn passes_over_what_was_tried_and_what_failed() {
        let (all, dice, policy) = (endpoints(2), Dice::new(), CircuitBreaker::default());
        let absent = |all, tried: &[u64]| pick(all, tried, &policy, 0, &dice).err();
        assert_eq!(picked(&all, &[all[0].key], &policy), [1].into());
        assert_eq!(absent(&all, &[all[0].key, all[1].key]), Some(Nobody::Absent));
        assert_eq!(absent(&[], &[]), Some(Nobody::Absent));
        all[1].shun(10);
        assert_eq!(picked(&all, &[], &policy), [0].into());
        assert_eq!(picked(&all, &[all[0].key], &policy), [1].into(), "better than none");
    }

    #[test]
    fn passes_over_what_is_ejected_while_there_are_others() {
        let (all, usual) = (endpoints(3), strict(50));
        eject(&all[0]);
        assert_eq!(picked(&all, &[], &usual), [1, 2].into());
        all[1].shun(10);
        all[2].shun(10);
        assert_eq!(picked(&all, &[], &usual), [1, 2].into(), "rather one to which no connection came about");
        eject(&all[1]);
        assert_eq!(picked(&all, &[all[2].key], &usual), [0, 1].into(), "better than none");
        eject(&all[2]);
        assert_eq!(picked(&all, &[], &usual), [0, 1, 2].into(), "better than none");
        let never = CircuitBreaker { failures: 0, ..usual };
        assert_eq!(picked(&all, &[], &never), [0].into(), "an entry that never ejects lets all back in");
    }

    #[test]
    fn sends_nothing_to_what_is_unhealthy_while_there_are_others() {
        let (plugin, policy, dice) = (Plugin::new(PluginId::new("n", "p"), 1), strict(50), Dice::new());
        let ready: Vec<_> =
            (0..3).map(|port: u16| (port.to_string(), ([127, 0, 0, 1], port).into())).collect();
        plugin.set_endpoints(&ready);
        let all = plugin.endpoints().clone();
        plugin.set_unhealthy_pods(|pod| pod != "1");
        assert_eq!(picked(&all, &[], &policy), [1].into());
        let failed = pick(&all, &[all[1].key], &policy, 0, &dice).err();
        assert_eq!(failed, Some(Nobody::Absent), "nor after the others have failed");
        all[1].shun(10);
        eject(&all[1]);
        assert_eq!(picked(&all, &[], &policy), [1].into(), "nor while the others are ejected");
        plugin.set_unhealthy_pods(|pod| pod == "1");
        assert_eq!(picked(&all, &[], &policy), [0, 2].into());
        plugin.set_unhealthy_pods(|_| true);
        assert_eq!(picked(&all, &[], &policy), [0, 2].into(), "as if none was");
    }

    #[test]
    fn refuses_where_all_are_ejected_and_that_is_wanted() {
        let (all, dice, policy) = (endpoints(2), Dice::new(), strict(100));
        all.iter().for_each(|endpoint| eject(endpoint));
        assert_eq!(pick(&all, &[], &policy, 3, &dice).err(), Some(Nobody::Ejected(7)));
        let tried: Vec<_> = (0..2).map(|_| pick(&all, &[], &policy, 10, &dice).unwrap()).collect();
        assert!(tried.iter().all(|(_, trial)| *trial) && tried[0].0.key != tried[1].0.key);
        assert_eq!(pick(&all, &[], &policy, 10, &dice).err(), Some(Nobody::Ejected(0)), "both are tried");
    }
}
