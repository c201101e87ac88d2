//! When a status is written that differs only in how far a plugin is on its way. Where few are on
//! theirs, at once; where many are, they take turns, and by its turn a plugin is mostly further, so that
//! one write tells of several steps.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{queue::Key, status::Difference};

/// How long a status may lag behind in its details, which change more often than steps are made.
const DETAILS_AFTER: Duration = Duration::from_secs(2);
/// The time between two turns, in the long run.
const TURN: Duration = Duration::from_millis(200);
/// How many turns there are at once after a time without any.
const BURST: u32 = 50;
/// The longest time until a turn.
const LONGEST: Duration = Duration::from_secs(30);

/// Whose status lags behind, and when it is whose turn.
#[derive(Debug, Default)]
pub struct Pace {
    lagging: BTreeMap<Key, Lag>,
    /// When all turns that were given out are over (the generic cell rate algorithm, ITU-T I.371).
    busy_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Lag {
    since: Instant,
    turn: Instant,
}

impl Pace {
    /// How long a status that differs like this is still left as it is; nothing where it is not.
    pub fn wait(&mut self, plugin: &Key, difference: Difference, now: Instant) -> Option<Duration> {
        let due = match difference {
            Difference::None | Difference::News => None,
            Difference::Step => Some(self.lag(plugin, now).turn),
            Difference::Details => {
                let Lag { since, turn } = self.lag(plugin, now);
                Some(turn.max(since + DETAILS_AFTER))
            }
        };
        let wait = due.map(|due| due.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            self.forget(plugin);
        }
        wait
    }

    /// Take note that a plugin is gone.
    pub fn forget(&mut self, plugin: &Key) {
        self.lagging.remove(plugin);
    }

    fn lag(&mut self, plugin: &Key, now: Instant) -> Lag {
        if let Some(lag) = self.lagging.get(plugin) {
            return *lag;
        }
        let lag = Lag { since: now, turn: now + self.next_turn(now) };
        self.lagging.insert(plugin.clone(), lag);
        lag
    }

    /// Give out a turn. The answer is how long it is until then.
    fn next_turn(&mut self, now: Instant) -> Duration {
        let at_once = TURN * BURST;
        let busy = self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // Turns that nobody waits for any more are not made up for beyond this.
        let busy = (busy + TURN).min(at_once + LONGEST);
        self.busy_until = Some(now + busy);
        busy.saturating_sub(at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: impl ToString) -> Key {
        ("shop".into(), name.to_string().into())
    }

    /// How long plugins wait that make a step at the same time.
    fn steps(pace: &mut Pace, count: u32, now: Instant) -> Vec<Duration> {
        let wait = |name: u32| pace.wait(&key(name), Difference::Step, now).unwrap_or_default();
        (0..count).map(wait).collect()
    }

    #[test]
    fn news_never_waits_and_takes_the_rest_along() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        steps(&mut pace, 1_000, now);
        assert_eq!(pace.wait(&key(999), Difference::News, now), None);
        assert!(!pace.lagging.contains_key(&key(999)));
        pace.forget(&key(998));
        assert_eq!(pace.lagging.len(), 1_000 - 50 - 2);
    }

    #[test]
    fn details_wait_for_what_follows_and_a_step_does_not() {
        let (mut pace, now, a) = (Pace::default(), Instant::now(), key("a"));
        assert_eq!(pace.wait(&a, Difference::Details, now), Some(DETAILS_AFTER));
        let later = now + Duration::from_secs(1);
        assert_eq!(
            pace.wait(&a, Difference::Details, later),
            Some(Duration::from_secs(1)),
            "since the first"
        );
        assert_eq!(pace.wait(&a, Difference::Step, later), None);
        assert_eq!(pace.wait(&a, Difference::Details, later), Some(DETAILS_AFTER), "it is up to date");
        assert_eq!(pace.wait(&a, Difference::Details, later + DETAILS_AFTER), None);
    }

    #[test]
    fn few_steps_are_told_at_once_and_many_in_turn() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let waits = steps(&mut pace, 100, now);
        assert!(waits[..50].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(waits[50], TURN);
        assert_eq!(waits[99], TURN * 50);
        assert_eq!(steps(&mut pace, 100, now)[99], waits[99], "nobody waits twice");
        let later = now + TURN * 50;
        assert_eq!(pace.wait(&key(99), Difference::Step, later), None, "it is its turn");
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_time_and_quiet_makes_room() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(steps(&mut pace, 10_000, now).iter().all(|wait| *wait <= LONGEST));
        let mut pace = Pace { lagging: BTreeMap::new(), ..pace };
        let quiet = now + LONGEST + TURN * BURST;
        assert!(steps(&mut pace, 50, quiet).iter().all(Duration::is_zero));
    }
}
