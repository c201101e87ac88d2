//! Whether asking is worth the wait: after failures in a row it is left off for a while, then one
//! request tries.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::data::clock::Tick;

/// After how many failures in a row nobody is asked.
const FAILURES: u32 = 5;
/// For how long: two seconds. A plugin whose pods were replaced is asked again soon.
const PAUSE: Tick = 20;

/// What the last calls came to, over all workers.
#[derive(Debug, Default)]
pub struct Circuit {
    /// In a row.
    failures: AtomicU32,
    /// With too many of them: when one request may try.
    next: AtomicU64,
}

impl Circuit {
    /// Whether to call. Of those that come when the pause is over, one does.
    pub fn admits(&self, now: Tick) -> bool {
        if self.failures.load(Relaxed) < FAILURES {
            return true;
        }
        let next = self.next.load(Relaxed);
        next <= now && self.next.compare_exchange(next, now + PAUSE, Relaxed, Relaxed).is_ok()
    }

    /// Whether nobody is to call now.
    pub fn is_paused(&self, now: Tick) -> bool {
        self.failures.load(Relaxed) >= FAILURES && self.next.load(Relaxed) > now
    }

    /// A call was answered.
    pub fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// A call was not answered. Whether nobody is asked from now on.
    pub fn failed(&self, now: Tick) -> bool {
        let failures = self.failures.load(Relaxed).saturating_add(1);
        self.next.store(now + PAUSE, Relaxed);
        self.failures.store(failures, Relaxed);
        failures == FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_off_after_failures_in_a_row_and_lets_one_try() {
        let circuit = Circuit::default();
        for _ in 1..FAILURES {
            assert!(circuit.admits(0) && !circuit.failed(0));
        }
        circuit.succeeded();
        for _ in 1..FAILURES {
            assert!(!circuit.failed(7));
        }
        assert!(circuit.admits(7), "they were not in a row");
        assert!(circuit.failed(7));
        assert!(!circuit.admits(7 + PAUSE - 1) && circuit.is_paused(7 + PAUSE - 1));
        assert!(!circuit.is_paused(7 + PAUSE) && circuit.admits(7 + PAUSE));
        assert!(!circuit.admits(7 + PAUSE), "another one tries");
        assert!(!circuit.failed(7 + PAUSE), "that is known");
        assert!(!circuit.admits(7 + 2 * PAUSE - 1));
        assert!(circuit.admits(7 + 2 * PAUSE));
        circuit.succeeded();
        assert!(circuit.admits(0) && circuit.admits(0));
    }
}
