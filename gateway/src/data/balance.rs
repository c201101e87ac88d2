//! Which endpoint gets a request: of two that are picked at random, the one with fewer requests
//! under way. Endpoints to which no connection came about lately are passed over while there
//! are others.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
};

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

/// Choose an endpoint that is not among `tried`.
pub fn pick<'a>(
    all: &'a [Arc<Endpoint>],
    tried: &[u64],
    now: Tick,
    dice: &Dice,
) -> Option<&'a Arc<Endpoint>> {
    let quick = least_of_two(all, dice)?;
    if !quick.is_shunned(now) && !tried.contains(&quick.key) {
        return Some(quick);
    }
    let fresh = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.key);
    let untried = all.iter().filter(fresh).collect::<Vec<_>>();
    let good = untried.iter().copied().filter(|endpoint| !endpoint.is_shunned(now)).collect::<Vec<_>>();
    least_of_two(if good.is_empty() { &untried } else { &good }, dice).copied()
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
    use super::*;

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count).map(|port| Endpoint::new(port.to_string(), ([127, 0, 0, 1], port).into())).collect()
    }

    #[test]
    fn spreads_requests_and_avoids_the_busiest() {
        let (all, dice) = (endpoints(3), Dice::new());
        all[0].in_flight.store(100, Relaxed);
        let mut counts = [0; 3];
        for _ in 0..1_000 {
            let picked = pick(&all, &[], 0, &dice).unwrap();
            counts[all.iter().position(|endpoint| endpoint.key == picked.key).unwrap()] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1] > 200 && counts[2] > 200, "{counts:?}");
    }

    #[test]
    fn passes_over_what_was_tried_and_what_failed() {
        let (all, dice) = (endpoints(2), Dice::new());
        assert_eq!(pick(&all, &[all[0].key], 0, &dice).unwrap().key, all[1].key);
        assert!(pick(&all, &[all[0].key, all[1].key], 0, &dice).is_none());
        assert!(pick(&[], &[], 0, &dice).is_none());
        all[1].shun(10);
        for _ in 0..50 {
            assert_eq!(pick(&all, &[], 0, &dice).unwrap().key, all[0].key);
        }
        assert_eq!(pick(&all, &[all[0].key], 0, &dice).unwrap().key, all[1].key, "better than none");
    }
}
