//! How many requests may be sent once more: a share of those that came lately, and a few besides.
//! Where everything fails, retries are then a small part of the traffic and not a multiple of it.
//!
//! Each worker has a budget of its own, so that counting never contends; what all of them spend is
//! within what one would have for all of the traffic, but for rounding.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::clock::{SECOND, Tick};

/// How many spans are remembered: ten, of a second each.
const SPANS: usize = 10;
/// How many retries may be in [`SPANS`] whatever the traffic, over all workers.
pub const RESERVE: usize = 10;

/// One worker's count of a plugin's requests that could be sent once more, and of those that were.
#[derive(Debug)]
pub struct Budget {
    reserve: u64,
    /// The span that was counted last, since the start of the process.
    span: AtomicU64,
    requests: [AtomicU32; SPANS],
    retries: [AtomicU32; SPANS],
}

impl Budget {
    /// Nothing was counted yet. `reserve` is what may be spent whatever the traffic.
    pub fn new(reserve: usize) -> Self {
        Self {
            reserve: reserve as u64,
            span: AtomicU64::new(0),
            requests: Default::default(),
            retries: Default::default(),
        }
    }

    /// A request has come.
    pub fn count(&self, now: Tick) {
        bump(&self.requests[self.turn(now)]);
    }

    /// Spend a retry, if this many in a hundred requests leave one.
    pub fn spend(&self, percent: u8, now: Tick) -> bool {
        let place = self.turn(now);
        let allowed = sum(&self.requests) * u64::from(percent) / 100 + self.reserve;
        let has = sum(&self.retries) < allowed;
        if has {
            bump(&self.retries[place]);
        }
        has
    }

    /// The place of the present span, with those emptied that are over.
    fn turn(&self, now: Tick) -> usize {
        let span = now / SECOND;
        let last = self.span.load(Relaxed);
        if span > last {
            for over in last + 1..=span.min(last + SPANS as u64) {
                let place = place(over);
                self.requests[place].store(0, Relaxed);
                self.retries[place].store(0, Relaxed);
            }
            self.span.store(span, Relaxed);
        }
        place(span)
    }
}

fn place(span: u64) -> usize {
    usize::try_from(span % SPANS as u64).unwrap_or_default()
}

/// With one writer a load and a store are enough.
fn bump(counter: &AtomicU32) {
    counter.store(counter.load(Relaxed).saturating_add(1), Relaxed);
}

fn sum(counters: &[AtomicU32]) -> u64 {
    counters.iter().map(|counter| u64::from(counter.load(Relaxed))).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spent(budget: &Budget, percent: u8, now: Tick) -> usize {
        (0..1_000).filter(|_| budget.spend(percent, now)).count()
    }

    #[test]
    fn gives_a_share_of_the_requests_and_a_few_besides() {
        for (requests, percent, expected) in [(0, 20, 3), (100, 20, 23), (99, 1, 3), (1_000, 0, 3)] {
            let budget = Budget::new(3);
            (0..requests).for_each(|_| budget.count(0));
            assert_eq!(spent(&budget, percent, 0), expected, "{percent} % of {requests}");
        }
    }

    #[test]
    fn forgets_requests_and_retries_after_ten_seconds() {
        let budget = Budget::new(1);
        (0..100).for_each(|_| budget.count(0));
        assert_eq!(spent(&budget, 10, 50), 11);
        assert_eq!(spent(&budget, 10, 99), 0, "all of it is in the last ten seconds");
        assert_eq!(spent(&budget, 10, 100), 0, "the requests are not, the retries are");
        assert_eq!(spent(&budget, 10, 150), 1);
        assert_eq!(spent(&budget, 10, 100_000), 1, "however long nothing came");
    }

    proptest! {
        /// Whenever one is spent, those of the last nine seconds are no more than the requests of the
        /// last ten allow.
        #[test]
        fn stays_within_the_share(
            events in prop::collection::vec((any::<bool>(), 0..7_u64), 0..400),
            percent in 0..=100_u8,
        ) {
            let budget = Budget::new(2);
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            let lately = |times: &[Tick], span: Tick, now: Tick| {
                times.iter().filter(|time| **time + span > now).count()
            };
            for (is_request, later) in events {
                now += later;
                if is_request {
                    budget.count(now);
                    requests.push(now);
                } else if budget.spend(percent, now) {
                    retries.push(now);
                    let allowed = lately(&requests, 100, now) * usize::from(percent) / 100 + 2;
                    prop_assert!(lately(&retries, 90, now) <= allowed);
                }
            }
        }
    }
}
