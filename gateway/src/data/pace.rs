//! How many requests may wait for a plugin where no entry says so: as many as there is room for
//! while it answers as it usually does, and fewer while it does not.
//!
//! What is guessed follows a gradient: the usual time of an answer against that of the last second.
//! Only a plugin that has much to do is judged, because a few slow answers harm nobody.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::clock::{SECOND, Tick};

/// Of how many requests that wait the bound never takes a place away: enough for plugins that have
/// clients wait a little, and to notice that one is well again.
const LEAST: f64 = 64.0;
/// How much longer than usual answers may take.
const TOLERANCE: f64 = 2.0;
/// By how much the bound is lowered at once at most.
const STEEPEST: f64 = 0.5;
/// What a second counts for what is usual: less where it was slower, so that what lasts for
/// minutes becomes usual and what lasts for seconds does not.
const RISE: f64 = 0.002;
const FALL: f64 = 0.1;

/// What is thought of a plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Of the room that there is, how much is given, from 0 to 1.
    share: f64,
    /// How long an answer usually takes, in seconds, once one is known.
    usual: Option<f64>,
}

/// What was seen of a plugin in about a second.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long answers took on the average, in seconds; absent where there were none.
    pub mean: Option<f64>,
    /// At least half of those that may wait do.
    pub is_busy: bool,
    /// For how many seconds it has been busy and given no answer.
    pub silence: f64,
}

impl Default for Guess {
    fn default() -> Self {
        Self { share: 1.0, usual: None }
    }
}

impl Guess {
    /// How many requests may wait, where there is room for `most`.
    pub fn bound(self, most: usize) -> f64 {
        let most = most as f64;
        (self.share * most).clamp(LEAST.min(most), most)
    }

    /// What is thought after this was seen.
    pub fn learn(self, seen: Seen, most: usize) -> Self {
        let usual = match (self.usual, seen.mean) {
            (Some(usual), Some(mean)) => {
                Some(usual + (mean - usual) * if mean < usual { FALL } else { RISE })
            }
            (known, mean) => known.or(mean),
        };
        let slowed = match (usual, seen.mean) {
            _ if !seen.is_busy && seen.mean.is_some() => 1.0,
            (Some(usual), Some(mean)) => (TOLERANCE * usual / mean).clamp(STEEPEST, 1.0),
            (Some(usual), None) if seen.is_busy && seen.silence > (TOLERANCE * usual).max(1.0) => STEEPEST,
            // Nothing was heard, and it was not to be expected.
            _ => return Self { usual, ..self },
        };
        let bound = self.bound(most);
        // A few more each time, to find out whether there is room for more.
        let bound = (bound * slowed + bound.sqrt()).min(most as f64);
        match most {
            // There is no room to have a share of.
            0 => Self { usual, ..self },
            most => Self { share: bound / most as f64, usual },
        }
    }
}

/// What is thought of a plugin, and what it is made of, for all threads. What threads take from each
/// other in the same moment is lost, which is little.
#[derive(Debug)]
pub struct Pace {
    /// [`Guess`], as the bits of its numbers; no usual time is 0.
    share: AtomicU64,
    usual: AtomicU64,
    /// When looking began.
    since: AtomicU64,
    /// Answers since then, and the microseconds that they took.
    answers: AtomicU64,
    micros: AtomicU64,
    /// Since when it has been seen busy without an answer; 0: it is not.
    silent: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        let Guess { share, usual } = Guess::default();
        Self {
            share: AtomicU64::new(share.to_bits()),
            usual: AtomicU64::new(usual.unwrap_or_default().to_bits()),
            since: AtomicU64::default(),
            answers: AtomicU64::default(),
            micros: AtomicU64::default(),
            silent: AtomicU64::default(),
        }
    }
}

impl Pace {
    /// An answer began after this time.
    pub fn answered(&self, after: Duration) {
        self.micros.fetch_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.answers.fetch_add(1, Relaxed);
    }

    /// How many requests may wait, where there is room for `most` and so many do.
    pub fn bound(&self, most: usize, waiting: usize, now: Tick) -> usize {
        let since = self.since.load(Relaxed);
        // Of those who come when a second is over, one looks.
        if now >= since + SECOND && self.since.compare_exchange(since, now, Relaxed, Relaxed).is_ok() {
            self.look(most, waiting, now);
        }
        self.guess().bound(most) as usize
    }

    fn look(&self, most: usize, waiting: usize, now: Tick) {
        let guess = self.guess();
        let (answers, micros) = (self.answers.swap(0, Relaxed), self.micros.swap(0, Relaxed));
        let mean = (answers > 0).then(|| (micros as f64 / answers as f64 / 1e6).max(1e-6));
        let is_busy = waiting as f64 * 2.0 >= guess.bound(most);
        let silent = match self.silent.load(Relaxed) {
            _ if mean.is_some() || !is_busy => 0,
            0 => now,
            before => before,
        };
        self.silent.store(silent, Relaxed);
        let silence = if silent == 0 { 0.0 } else { (now - silent) as f64 / SECOND as f64 };
        let Guess { share, usual } = guess.learn(Seen { mean, is_busy, silence }, most);
        self.share.store(share.to_bits(), Relaxed);
        self.usual.store(usual.unwrap_or_default().to_bits(), Relaxed);
    }

    fn guess(&self) -> Guess {
        let [share, usual] = [&self.share, &self.usual].map(|bits| f64::from_bits(bits.load(Relaxed)));
        let share = if share.is_finite() { share } else { Guess::default().share };
        Guess { share, usual: (usual > 0.0 && usual.is_finite()).then_some(usual) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1024;

    fn seen(mean: f64, is_busy: bool) -> Seen {
        Seen { mean: Some(mean), is_busy, silence: 0.0 }
    }

    fn known(usual: f64) -> Guess {
        Guess::default().learn(seen(usual, false), MOST)
    }

    fn after(mut guess: Guess, seconds: usize, seen: impl Fn(f64) -> Seen) -> Guess {
        for _ in 0..seconds {
            guess = guess.learn(seen(guess.bound(MOST)), MOST);
        }
        guess
    }

    #[test]
    fn follows_what_is_seen() {
        let silent = |silence| Seen { mean: None, is_busy: true, silence };
        for (what, seen, falls) in [
            ("as usual", seen(0.1, true), false),
            ("within what is tolerated", seen(0.19, true), false),
            ("slow, with little to do", seen(5.0, false), false),
            ("slow", seen(1.0, true), true),
            ("no answers, so far", silent(0.9), false),
            ("no answers", silent(1.1), true),
            ("nothing asked", Seen { mean: None, is_busy: false, silence: 0.0 }, false),
        ] {
            assert_eq!(known(0.1).learn(seen, MOST).bound(MOST) < 1024.0, falls, "{what}");
        }
        let patient = known(20.0);
        assert_eq!(patient.learn(silent(39.0), MOST), patient, "its answers take that long");
        let unknown = Guess::default();
        assert_eq!(unknown.learn(silent(60.0), MOST), unknown, "nobody knows what is usual");
    }

    #[test]
    fn a_plugin_that_hangs_loses_its_places_in_seconds_and_has_them_again_when_it_is_well() {
        let hung = after(known(0.05), 6, |_| Seen { mean: None, is_busy: true, silence: 2.0 });
        assert!(hung.bound(MOST) < 90.0, "{hung:?}");
        let well = after(hung, 60, |_| seen(0.05, true));
        assert_eq!(well.bound(MOST), 1024.0);
    }

    /// A plugin that does 100 requests at a time, each in 50 ms, and is asked as much as may wait.
    fn overloaded(bound: f64) -> Seen {
        seen(0.05 * (bound / 100.0).max(1.0), true)
    }

    #[test]
    fn a_plugin_that_has_too_much_to_do_is_given_about_what_it_can() {
        let guess = after(known(0.05), 30, overloaded);
        let bound = guess.bound(MOST);
        assert!((150.0..300.0).contains(&bound), "{bound}");
        let minute = after(guess, 60, overloaded).bound(MOST);
        assert!((bound - minute).abs() < 60.0, "{bound} then {minute}");
    }

    #[test]
    fn what_lasts_for_minutes_becomes_usual() {
        let slower = |_| seen(0.5, true);
        assert!(after(known(0.05), 60, slower).bound(MOST) < 100.0);
        assert_eq!(after(known(0.05), 600, slower).bound(MOST), 1024.0);
    }

    #[test]
    fn of_threads_that_come_together_one_looks() {
        let pace = Pace::default();
        pace.answered(Duration::from_millis(50));
        assert_eq!(pace.bound(MOST, 0, SECOND), MOST);
        let busy = |now| pace.bound(MOST, MOST, now);
        busy(2 * SECOND);
        busy(4 * SECOND);
        let halved = busy(4 * SECOND);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| busy(4 * SECOND + 5));
            }
        });
        assert_eq!(busy(4 * SECOND + 5), halved, "less than a second went by");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| busy(5 * SECOND));
            }
        });
        let again = busy(5 * SECOND);
        assert!(again < halved && again >= halved / 2, "{again} after {halved}");
    }

    #[test]
    fn time_in_which_nobody_asked_is_no_silence() {
        let pace = Pace::default();
        pace.answered(Duration::from_millis(50));
        assert_eq!(pace.bound(MOST, 0, SECOND), MOST);
        assert_eq!(pace.bound(MOST, MOST, 900 * SECOND), MOST, "they have just come");
        assert_eq!(pace.bound(MOST, MOST, 901 * SECOND), MOST);
        assert!(pace.bound(MOST, MOST, 902 * SECOND) < MOST);
    }

    #[test]
    fn pods_that_go_and_come_back_have_their_places_again() {
        let pace = Pace::default();
        pace.answered(Duration::from_millis(50));
        assert_eq!(pace.bound(MOST, 0, SECOND), MOST);
        pace.answered(Duration::from_millis(50));
        assert_eq!(pace.bound(0, 1, 2 * SECOND), 0);
        assert_eq!(pace.bound(MOST, 0, 3 * SECOND), MOST);
        pace.share.store(f64::NAN.to_bits(), Relaxed);
        assert_eq!(pace.bound(MOST, 0, 3 * SECOND), MOST);
    }

    fn seens() -> impl Strategy<Value = Vec<Seen>> {
        let mean = prop::option::of(1e-6..100.0f64);
        let one = (mean, any::<bool>(), 0.0..100.0f64);
        let one = one.prop_map(|(mean, is_busy, silence)| Seen { mean, is_busy, silence });
        prop::collection::vec(one, 0..200)
    }

    proptest! {
        #[test]
        fn stays_within_its_ends_and_comes_back(all in seens(), pods in 1usize..10, gone in 0usize..200) {
            let most = MOST * pods;
            let mut guess = Guess::default();
            for (number, seen) in all.into_iter().enumerate() {
                let before = guess.bound(most);
                if number == gone {
                    // All pods are gone for a second.
                    guess = guess.learn(seen, 0);
                    prop_assert_eq!(guess.bound(0), 0.0);
                    prop_assert_eq!(guess.bound(most), before);
                    continue;
                }
                guess = guess.learn(seen, most);
                let bound = guess.bound(most);
                prop_assert!((LEAST..=most as f64).contains(&bound));
                prop_assert!(bound >= before * STEEPEST, "at most half at once");
                prop_assert!(seen.is_busy || bound >= before, "one with little to do keeps its places");
            }
            let usual = guess.usual.unwrap_or(0.1);
            for _ in 0..250 {
                guess = guess.learn(seen(usual, true), most);
            }
            prop_assert_eq!(guess.bound(most), most as f64);
        }
    }
}
