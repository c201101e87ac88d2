//! What goes wrong, as data. Of the calls, or events, that a rule is about, the n-th meets with the
//! same fate whenever the seed is the same.

use std::time::Duration;

use crate::call::{Call, Verb};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides which calls are hit.
    pub seed: u64,
    /// What goes wrong with calls; the first rule that hits counts.
    pub calls: Vec<Rule<Fault>>,
    /// What goes wrong with the events of watches; the first rule that hits counts.
    pub events: Vec<Rule<Disturbance>>,
    /// The operator dies right after so many writes, again and again.
    pub kill_every: Option<usize>,
}

/// What happens to some of the calls.
#[derive(Clone, Debug)]
pub struct Rule<What> {
    /// Which calls it is about.
    pub on: Target,
    /// How many of a hundred it hits.
    pub percent: u64,
    /// It hits no more of them than so many.
    pub times: usize,
    /// What happens.
    pub what: What,
}

/// Calls that have something in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All but watches.
    Calls,
    /// All that change something.
    Writes,
    /// Writes to objects of a kind, or to a part of them; of watches, those of the kind.
    Kind(&'static str, &'static str),
    /// The watches of all kinds.
    Watches,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and not carried out.
    Refuse {
        /// The status.
        code: u16,
        /// The seconds that the caller is told to wait.
        retry_after: Option<u32>,
    },
    /// It is not answered and not carried out; the connection stays.
    Hang,
    /// It is carried out, and the connection ends before the answer.
    Lose,
    /// It is carried out, and the connection ends in the middle of the answer.
    Cut,
}

/// What happens to an event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// It comes late, and what is behind it no earlier.
    Delay(Duration),
    /// It comes twice.
    Repeat,
    /// It does not come: the watch ends with 410 Gone, so that the objects must be listed anew.
    Expire,
    /// It does not come: the watch ends.
    Close,
}

/// A plan that is being carried out.
#[derive(Debug, Default)]
pub struct Course {
    plan: Plan,
    /// For each rule, the calls that it was about and those that it has hit.
    calls: Vec<(u64, usize)>,
    events: Vec<(u64, usize)>,
}

impl Target {
    fn fits(self, call: &Call) -> bool {
        let watch = call.verb == Verb::Watch;
        match self {
            Self::Calls => !watch,
            Self::Writes => call.is_write(),
            Self::Kind(resource, subresource) => {
                (watch || call.is_write()) && call.is_on(resource, subresource)
            }
            Self::Watches => watch,
        }
    }
}

impl Course {
    /// Begin a plan.
    pub fn new(plan: Plan) -> Self {
        let (calls, events) = (vec![(0, 0); plan.calls.len()], vec![(0, 0); plan.events.len()]);
        Self { plan, calls, events }
    }

    /// After how many writes the operator dies.
    pub fn kill_every(&self) -> Option<usize> {
        self.plan.kill_every
    }

    /// How often something has gone wrong.
    pub fn hits(&self) -> usize {
        self.calls.iter().chain(&self.events).map(|(_, hits)| hits).sum()
    }

    /// What happens to a call.
    pub fn fate(&mut self, call: &Call) -> Option<Fault> {
        // A watch that is not answered at all is one that is interrupted: rules for events do that.
        if call.verb == Verb::Watch {
            return None;
        }
        hit(self.plan.seed, &self.plan.calls, &mut self.calls, call)
    }

    /// What happens to the next event of a watch.
    pub fn disturb(&mut self, watch: &Call) -> Option<Disturbance> {
        hit(!self.plan.seed, &self.plan.events, &mut self.events, watch)
    }
}

fn hit<What: Copy>(
    seed: u64,
    rules: &[Rule<What>],
    counts: &mut [(u64, usize)],
    call: &Call,
) -> Option<What> {
    for (place, (rule, (met, hits))) in rules.iter().zip(counts).enumerate() {
        if !rule.on.fits(call) || *hits >= rule.times {
            continue;
        }
        *met += 1;
        let place = u64::try_from(place).unwrap_or_default();
        if scatter(seed ^ (place << 48) ^ *met) % 100 < rule.percent {
            *hits += 1;
            return Some(rule.what);
        }
    }
    None
}

/// A number that looks like chance and is the same for the same number (SplitMix64's mixing step).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn fates(seed: u64, percent: u64, times: usize) -> Vec<bool> {
        let rule = Rule { on: Target::Writes, percent, times, what: Fault::Hang };
        let mut course = Course::new(Plan { seed, calls: vec![rule], ..Plan::default() });
        let call = Call::read(&Method::PATCH, &"/api/v1/namespaces/a/pods/b".parse().unwrap(), b"");
        (0..200).map(|_| course.fate(&call).is_some()).collect()
    }

    #[test]
    fn the_same_seed_hits_the_same_calls() {
        assert_eq!(fates(7, 30, usize::MAX), fates(7, 30, usize::MAX));
        assert_ne!(fates(7, 30, usize::MAX), fates(8, 30, usize::MAX));
        let hits = fates(7, 30, usize::MAX).into_iter().filter(|hit| *hit).count();
        assert!((30..90).contains(&hits), "{hits}");
        assert_eq!(fates(7, 100, 3).iter().filter(|hit| **hit).count(), 3);
    }

    #[test]
    fn a_rule_for_writes_leaves_reads_alone() {
        let rule = Rule { on: Target::Writes, percent: 100, times: usize::MAX, what: Fault::Lose };
        let mut course = Course::new(Plan { calls: vec![rule], ..Plan::default() });
        let read = Call::read(&Method::GET, &"/api/v1/namespaces/a/pods/b".parse().unwrap(), b"");
        assert_eq!(course.fate(&read), None);
    }
}
