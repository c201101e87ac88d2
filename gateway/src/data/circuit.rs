//! Whether an endpoint gets requests: not while it is ejected for its failures, and one at a time
//! when that is over, until it has answered some.
//!
//! What is known of an endpoint is one number, so that all threads share it without a lock, and
//! what becomes of it is a function of that number, of the policy and of the time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use forward_plan::middleware::CircuitBreaker;

use super::clock::{SECOND, Tick, ticks};

/// How many requests in a row an endpoint must answer after it was ejected, until it gets its share
/// again.
const TRIALS: u16 = 3;
/// How long an endpoint must be well until one of its ejections is forgotten.
const FORGIVEN: Tick = 60 * SECOND;
/// How many ejections are counted: as many as there are bits for.
const MOST_EJECTIONS: u8 = 63;

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub struct Circuit(AtomicU64);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    Failed,
    /// Nothing that speaks for or against the endpoint.
    Unknown,
}

/// What is known of an endpoint at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// How often it was ejected, less those that are forgotten.
    ejections: u8,
    /// Closed: failures in a row; else: requests in a row that it has answered.
    count: u16,
    /// Closed: since when; else: until when it is ejected.
    tick: Tick,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It gets its share.
    #[default]
    Closed,
    /// It gets nothing, or one request when the time is over.
    Open,
    /// It has got that request.
    Trying,
}

impl Circuit {
    /// Whether the endpoint gets its share of the requests.
    pub fn is_closed(&self) -> bool {
        self.state().phase == Phase::Closed
    }

    /// Whether it may be tried with a request.
    pub fn is_due(&self, now: Tick) -> bool {
        self.state().is_due(now)
    }

    /// How long until it may be tried, as far as can be known.
    pub fn wait(&self, now: Tick) -> Tick {
        self.state().tick.saturating_sub(now)
    }

    /// Try it with a request; no where somebody else does.
    pub fn try_it(&self, now: Tick) -> bool {
        self.change(|state| state.is_due(now).then_some(State { phase: Phase::Trying, ..state }))
    }

    /// Take in what became of a request, which was a trial or not. Whether the endpoint was ejected
    /// for it, which `may_eject` must permit; what that looks at must not change meanwhile.
    pub fn settle(
        &self,
        outcome: Outcome,
        trial: bool,
        policy: &CircuitBreaker,
        now: Tick,
        may_eject: impl Fn() -> bool,
    ) -> bool {
        let mut ejects = false;
        let changed = self.change(|state| {
            let after = state.after(outcome, trial, policy, now)?;
            ejects = state.phase == Phase::Closed && after.phase == Phase::Open;
            (!ejects || may_eject()).then_some(after)
        });
        changed && ejects
    }

    fn state(&self) -> State {
        State::from_bits(self.0.load(Relaxed))
    }

    /// Change what is known, unless there is nothing to change.
    fn change(&self, mut change: impl FnMut(State) -> Option<State>) -> bool {
        let change = |bits| change(State::from_bits(bits)).map(State::into_bits);
        self.0.fetch_update(Relaxed, Relaxed, change).is_ok()
    }
}

impl State {
    fn is_due(self, now: Tick) -> bool {
        self.phase == Phase::Open && self.tick <= now
    }

    /// What is known after a request; `None` where it changes nothing.
    fn after(self, outcome: Outcome, trial: bool, policy: &CircuitBreaker, now: Tick) -> Option<Self> {
        match (self.phase, outcome) {
            (Phase::Closed, Outcome::Answered) => (self.count > 0).then_some(Self { count: 0, ..self }),
            (Phase::Closed, Outcome::Failed) if policy.failures > 0 => {
                let count = self.count.saturating_add(1);
                Some(if count >= policy.failures {
                    self.ejected(policy, now)
                } else {
                    Self { count, ..self }
                })
            }
            // Others that were under way before say nothing of how it fares now.
            (Phase::Trying, _) if trial => Some(self.tried(outcome, policy, now)),
            _ => None,
        }
    }

    fn tried(self, outcome: Outcome, policy: &CircuitBreaker, now: Tick) -> Self {
        let count = self.count.saturating_add(1);
        match outcome {
            Outcome::Answered if count >= TRIALS => {
                Self { phase: Phase::Closed, count: 0, tick: now, ..self }
            }
            Outcome::Answered => Self { phase: Phase::Open, count, tick: now, ..self },
            Outcome::Unknown => Self { phase: Phase::Open, tick: now, ..self },
            Outcome::Failed => self.ejected(policy, now),
        }
    }

    fn ejected(self, policy: &CircuitBreaker, now: Tick) -> Self {
        let well = if self.phase == Phase::Closed { now.saturating_sub(self.tick) } else { 0 };
        let forgotten = u8::try_from(well / FORGIVEN).unwrap_or(u8::MAX);
        let before = self.ejections.saturating_sub(forgotten);
        let time = ticks(policy.ejection).saturating_mul(1 << before.min(MOST_EJECTIONS));
        let tick = now.saturating_add(time.min(ticks(policy.longest)));
        let ejections = before.saturating_add(1).min(MOST_EJECTIONS);
        Self { phase: Phase::Open, ejections, count: 0, tick }
    }

    fn from_bits(bits: u64) -> Self {
        let phase = match bits & 3 {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::Trying,
        };
        let ejections = u8::try_from(bits >> 2 & u64::from(MOST_EJECTIONS)).unwrap_or(MOST_EJECTIONS);
        let count = u16::try_from(bits >> 8 & u64::from(u16::MAX)).unwrap_or(u16::MAX);
        Self { phase, ejections, count, tick: bits >> 24 }
    }

    fn into_bits(self) -> u64 {
        let Self { phase, ejections, count, tick } = self;
        // Forty bits of ticks are three thousand years.
        phase as u64 | u64::from(ejections) << 2 | u64::from(count) << 8 | tick << 24
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Three failures; a second, two, four and no more than five.
    fn policy() -> CircuitBreaker {
        CircuitBreaker {
            failures: 3,
            ejection: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            ..CircuitBreaker::default()
        }
    }

    /// A circuit, and the time.
    #[derive(Default)]
    struct Bench {
        circuit: Circuit,
        now: Tick,
        ejections: usize,
    }

    impl Bench {
        /// Requests with these outcomes: `.` answered, `x` failed, `?` unknown; each is a trial where
        /// one is due, and otherwise one only where the endpoint is closed. A digit is so many seconds.
        fn play(&mut self, script: &str) -> &mut Self {
            for event in script.chars() {
                let outcome = match event {
                    '.' => Outcome::Answered,
                    'x' => Outcome::Failed,
                    '?' => Outcome::Unknown,
                    digit => {
                        self.now += 10 * Tick::from(digit.to_digit(10).unwrap());
                        continue;
                    }
                };
                let trial = self.circuit.try_it(self.now);
                assert!(trial || self.circuit.is_closed(), "{event} of {script} has nowhere to go");
                self.ejections +=
                    usize::from(self.circuit.settle(outcome, trial, &policy(), self.now, || true));
            }
            self
        }

        fn told(&self) -> &'static str {
            match (self.circuit.is_closed(), self.circuit.is_due(self.now)) {
                (true, _) => "closed",
                (false, true) => "due",
                (false, false) => "open",
            }
        }
    }

    #[test]
    fn ejects_after_failures_in_a_row_and_returns_after_some_answers() {
        for (script, expected) in [
            ("", "closed"),
            ("xx", "closed"),
            ("xxx", "open"),
            ("xx.xx", "closed"),
            ("xx?x", "open"),
            ("???", "closed"),
            ("xxx1", "due"),
            ("xxx1.", "due"),
            ("xxx1..", "due"),
            ("xxx1...", "closed"),
            ("xxx1?", "due"),
            ("xxx1.?..", "closed"),
            ("xxx1x", "open"),
            ("xxx1x1", "open"),
            ("xxx1x2", "due"),
            ("xxx1..x2", "due"),
            ("xxx1x2x3", "open"),
            ("xxx1x2x4", "due"),
            ("xxx1x2x4x4", "open"),
            ("xxx1x2x4x5", "due"),
            ("xxx1x2x4x5x5", "due"),
            ("xxx1...xx", "closed"),
            ("xxx1...xxx1", "open"),
            ("xxx1...xxx2", "due"),
        ] {
            assert_eq!(Bench::default().play(script).told(), expected, "{script}");
        }
    }

    #[test]
    fn forgets_ejections_while_the_endpoint_is_well() {
        let mut bench = Bench::default();
        bench.play("xxx1x2...");
        bench.now += 2 * FORGIVEN;
        assert_eq!(bench.play("xxx1").told(), "due", "as long as the first time");
        assert_eq!(bench.ejections, 2, "a trial that fails is none");
    }

    #[test]
    fn is_tried_by_one_at_a_time() {
        let mut bench = Bench::default();
        bench.play("xxx1");
        assert!(bench.circuit.try_it(bench.now) && !bench.circuit.try_it(bench.now));
        for outcome in [Outcome::Answered, Outcome::Failed, Outcome::Unknown] {
            bench.circuit.settle(outcome, false, &policy(), bench.now, || true);
            assert!(!bench.circuit.try_it(bench.now), "another request ends, not the trial: {outcome:?}");
        }
        bench.circuit.settle(Outcome::Unknown, true, &policy(), bench.now, || true);
        assert!(bench.circuit.try_it(bench.now));
    }

    #[test]
    fn asks_again_where_it_may_not_eject() {
        let circuit = Circuit::default();
        let fail = |permitted| circuit.settle(Outcome::Failed, false, &policy(), 0, || permitted);
        assert_eq!([fail(false), fail(false), fail(false), fail(false)], [false; 4]);
        assert!(circuit.is_closed() && fail(true) && !circuit.is_closed());
    }

    #[test]
    fn never_ejects_where_no_number_is_too_many() {
        let (circuit, never) = (Circuit::default(), CircuitBreaker { failures: 0, ..policy() });
        for _ in 0..100 {
            assert!(!circuit.settle(Outcome::Failed, false, &never, 0, || true));
        }
        assert!(circuit.is_closed());
    }

    proptest! {
        /// The number holds what is known.
        #[test]
        fn keeps_what_is_known(phase in 0..3_u64, ejections in 0..=MOST_EJECTIONS, count: u16, tick in 0..1_u64 << 40) {
            let phase = State::from_bits(phase).phase;
            let state = State { phase, ejections, count, tick };
            prop_assert_eq!(State::from_bits(state.into_bits()), state);
        }

        /// However requests end, the endpoint is ejected no longer than the longest time, and comes
        /// back once it answers.
        #[test]
        fn always_comes_back(events in prop::collection::vec((0..3_u8, 0..80_u64, any::<bool>()), 0..200)) {
            let (circuit, mut now) = (Circuit::default(), 0);
            let mut trying = false;
            for (outcome, later, permitted) in events {
                now += later;
                let outcome = [Outcome::Answered, Outcome::Failed, Outcome::Unknown][usize::from(outcome)];
                let trial = trying || circuit.try_it(now);
                // Every other trial takes until the next event.
                trying = trial && !trying && later % 2 == 0;
                if !trying {
                    circuit.settle(outcome, trial, &policy(), now, || permitted);
                }
                prop_assert!(circuit.wait(now) <= 50 || circuit.is_closed());
            }
            if trying {
                circuit.settle(Outcome::Unknown, true, &policy(), now, || true);
            }
            now += 50;
            for _ in 0..TRIALS {
                let trial = circuit.try_it(now);
                circuit.settle(Outcome::Answered, trial, &policy(), now, || true);
            }
            prop_assert!(circuit.is_closed());
        }
    }
}
