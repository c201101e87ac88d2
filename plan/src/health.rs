//! How a plugin fares, by what its pods answered: decided without a clock, so that the same answers
//! always come to the same.
//!
//! A pod that says that it is not well is believed. That a pod could not be asked says as much of
//! who asked: it takes pods out of traffic only while others of the plugin answer, and not where so
//! many fail to answer that the fault is likely nearer.

use forward_crds::HealthStatus;

/// How many of a hundred pods of all plugins may be without an answer until whoever asks them
/// mistrusts itself.
const OVERALL: usize = 50;

/// What became of asking a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It says that it is well.
    Healthy,
    /// It says that it is not.
    Unhealthy,
    /// It did not say.
    Nothing,
}

/// What counts of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is well.
    Healthy,
    /// It has said often enough that it is not.
    Unhealthy,
    /// It was not well often enough, and could not be asked among it.
    Unanswered,
}

/// How often in a row something must be so until it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// That a pod is not well.
    pub failure: u32,
    /// That one which was not is well again.
    pub success: u32,
}

/// What is known of a pod's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodHealth {
    standing: Option<Standing>,
    /// Answers in a row that it is well.
    successes: u32,
    /// How often it said that it is not well, and how often nothing, since it counted as well.
    refusals: u32,
    silences: u32,
}

/// What a plugin's pods come to together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthVerdict {
    /// `None` while too little is known: what counted before goes on counting.
    pub status: Option<HealthStatus>,
    /// Which of the pods are to get no requests while there are others.
    pub out: Vec<bool>,
    /// Whether it is who asks that is mistrusted, and so pods without an answer get their requests.
    pub mistrusted: bool,
}

/// How many pods of a plugin are asked, and how many of them do not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pods that something is known of.
    pub asked: usize,
    /// Those that are without an answer.
    pub unanswered: usize,
}

/// The tallies of all plugins that one asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    total: Tally,
    /// Plugins with a pod that something is known of.
    plugins: usize,
    /// Those of which more than half of the pods are without an answer.
    silent: usize,
}

impl PodHealth {
    /// Of a pod that somebody else has asked before: it must be well as often as any that was not.
    pub fn resumed(standing: Standing) -> Self {
        Self { standing: Some(standing), ..Self::default() }
    }

    /// What counts; `None` while too little is known.
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Take in an answer. Of a pod that nothing is known of, one that it is well is enough.
    pub fn take(&mut self, answer: Answer, thresholds: Thresholds) {
        match answer {
            Answer::Healthy => {
                self.successes = self.successes.saturating_add(1);
                (self.refusals, self.silences) = (0, 0);
                let was_ill = matches!(self.standing, Some(Standing::Unhealthy | Standing::Unanswered));
                if !was_ill || self.successes >= thresholds.success {
                    *self = Self { standing: Some(Standing::Healthy), ..Self::default() };
                }
                return;
            }
            Answer::Unhealthy => self.refusals = self.refusals.saturating_add(1),
            Answer::Nothing => self.silences = self.silences.saturating_add(1),
        }
        self.successes = 0;
        if self.refusals >= thresholds.failure {
            self.standing = Some(Standing::Unhealthy);
        } else if self.refusals.saturating_add(self.silences) >= thresholds.failure
            // Its own word counts until it says something else.
            && self.standing != Some(Standing::Unhealthy)
        {
            self.standing = Some(Standing::Unanswered);
        }
    }
}

/// Decide what pods come to. Where more than `panic_percent` of them are without an answer, or whoever
/// asks is `mistrusted` altogether, nobody is taken out for that.
pub fn judge_health(pods: &[Option<Standing>], panic_percent: u32, mistrusted: bool) -> HealthVerdict {
    let count = |standing| pods.iter().filter(|pod| **pod == Some(standing)).count();
    let (well, ill, unanswered) =
        (count(Standing::Healthy), count(Standing::Unhealthy), count(Standing::Unanswered));
    let most = usize::try_from(panic_percent).unwrap_or(usize::MAX).saturating_mul(pods.len());
    let mistrusted = unanswered > 0 && (mistrusted || unanswered.saturating_mul(100) > most);
    let without = !mistrusted && well > 0;
    let is_out = |pod: &Option<Standing>| match pod {
        Some(Standing::Unhealthy) => true,
        Some(Standing::Unanswered) => without,
        Some(Standing::Healthy) | None => false,
    };
    let status = if mistrusted {
        Some(HealthStatus::Unknown)
    } else if well > 0 {
        Some(HealthStatus::Healthy)
    } else if ill > 0 && ill == pods.len() {
        Some(HealthStatus::Unhealthy)
    } else if unanswered > 0 && ill + unanswered == pods.len() {
        Some(HealthStatus::Unknown)
    } else {
        None
    };
    HealthVerdict { status, out: pods.iter().map(is_out).collect(), mistrusted }
}

impl Tally {
    /// Of a plugin's pods.
    pub fn of(pods: &[Option<Standing>]) -> Self {
        Self {
            asked: pods.iter().flatten().count(),
            unanswered: pods.iter().filter(|pod| **pod == Some(Standing::Unanswered)).count(),
        }
    }

    fn is_silent(self) -> bool {
        self.unanswered * 100 > self.asked * OVERALL
    }
}

impl Tallies {
    /// A plugin's tally is `after`, and no longer `before`.
    pub fn change(&mut self, before: Tally, after: Tally) {
        let Self { total, plugins, silent } = self;
        total.asked = total.asked + after.asked - before.asked;
        total.unanswered = total.unanswered + after.unanswered - before.unanswered;
        *plugins = *plugins + usize::from(after.asked > 0) - usize::from(before.asked > 0);
        *silent = *silent + usize::from(after.is_silent()) - usize::from(before.is_silent());
    }

    /// Whether the fault is likely with who asks: of several plugins, more than half of the pods are
    /// without an answer, and so it is with more than half of all pods, and of all plugins. One plugin
    /// of many pods does not decide it for others.
    pub fn mistrusts(&self) -> bool {
        let Self { total, plugins, silent } = self;
        *silent > 1 && total.unanswered * 100 > total.asked * OVERALL && silent * 100 > plugins * OVERALL
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Thresholds = Thresholds { failure: 3, success: 2 };

    /// What counts after each answer: `.` well, `x` not well, `?` nothing.
    fn play(mut pod: PodHealth, script: &str) -> String {
        let mut told = String::new();
        for answer in script.chars() {
            let answer = match answer {
                '.' => Answer::Healthy,
                'x' => Answer::Unhealthy,
                _ => Answer::Nothing,
            };
            pod.take(answer, TERMS);
            told.push(letter(pod.standing()));
        }
        told
    }

    fn letter(standing: Option<Standing>) -> char {
        match standing {
            None => '-',
            Some(Standing::Healthy) => 'h',
            Some(Standing::Unhealthy) => 'u',
            Some(Standing::Unanswered) => 'n',
        }
    }

    fn standings(text: &str) -> Vec<Option<Standing>> {
        let standing = |letter| match letter {
            'h' => Some(Standing::Healthy),
            'u' => Some(Standing::Unhealthy),
            'n' => Some(Standing::Unanswered),
            _ => None,
        };
        text.chars().map(standing).collect()
    }

    #[test]
    fn counts_what_is_so_often_enough_in_a_row() {
        for (script, expected) in [
            (".", "h"),
            ("xxx", "--u"),
            ("???", "--n"),
            (".xx.xx.", "hhhhhhh"),
            (".xxx.x..", "hhhuuuuh"),
            (".???.?..", "hhhnnnnh"),
            // Both count towards not being well; its own word needs to be said as often itself.
            (".x?x", "hhhn"),
            (".x?xx", "hhhnu"),
            // In a row: what was well between them does not count towards either.
            (".???.x.x.x", "hhhnnnnnnn"),
            // A word of its own stands while it cannot be asked.
            (".xxx???", "hhhuuuu"),
            (".xxx..xx.xxx", "hhhuuhhhhhhu"),
        ] {
            assert_eq!(play(PodHealth::default(), script), expected, "{script}");
        }
        assert_eq!(play(PodHealth::resumed(Standing::Unhealthy), ".x.."), "uuuh", "whoever asked before");
    }

    #[test]
    fn takes_out_what_says_so_and_what_is_silent_while_others_answer() {
        use HealthStatus::{Healthy, Unhealthy, Unknown};
        for (pods, panic, mistrusted, status, out, doubts) in [
            ("h", 50, false, Some(Healthy), ".", false),
            ("hu", 50, false, Some(Healthy), ".x", false),
            ("u", 50, false, Some(Unhealthy), "x", false),
            ("uu", 50, false, Some(Unhealthy), "xx", false),
            ("u-", 50, false, None, "x.", false),
            ("--", 50, false, None, "..", false),
            ("h-", 50, false, Some(Healthy), "..", false),
            // One in two, and one in three, may be silent.
            ("hn", 50, false, Some(Healthy), ".x", false),
            ("hhn", 50, false, Some(Healthy), "..x", false),
            // More may not.
            ("hnn", 50, false, Some(Unknown), "...", true),
            ("n", 50, false, Some(Unknown), ".", true),
            ("nnn", 50, false, Some(Unknown), "...", true),
            ("hnn", 70, false, Some(Healthy), ".xx", false),
            // The last one is never taken out for it.
            ("n", 100, false, Some(Unknown), ".", false),
            ("un", 50, false, Some(Unknown), "x.", false),
            ("uuun", 50, false, Some(Unknown), "xxx.", false),
            ("n-", 50, false, None, "..", false),
            // Who is mistrusted altogether takes nobody out for it.
            ("hhn", 50, true, Some(Unknown), "...", true),
            ("hun", 50, true, Some(Unknown), ".x.", true),
            ("hu", 50, true, Some(Healthy), ".x", false),
        ] {
            let HealthVerdict { status: found, out: taken, mistrusted: doubted } =
                judge_health(&standings(pods), panic, mistrusted);
            let taken = taken.iter().map(|out| if *out { 'x' } else { '.' }).collect::<String>();
            assert_eq!(
                (found, taken.as_str(), doubted),
                (status, out, doubts),
                "{pods} {panic} {mistrusted}"
            );
        }
    }

    #[test]
    fn mistrusts_itself_where_several_plugins_are_silent() {
        let tallies = |all: &[(usize, usize)]| {
            let mut tallies = Tallies::default();
            for (asked, unanswered) in all {
                // What was counted before is forgotten.
                let first = Tally { asked: 5, unanswered: 5 };
                tallies.change(Tally::default(), first);
                tallies.change(first, Tally { asked: *asked, unanswered: *unanswered });
            }
            tallies.mistrusts()
        };
        assert!(!tallies(&[]));
        assert!(!tallies(&[(3, 3)]), "that may be the plugin");
        assert!(!tallies(&[(3, 3), (1, 0)]));
        assert!(tallies(&[(3, 2), (3, 2)]));
        assert!(!tallies(&[(3, 2), (3, 1)]), "half of them is not enough");
        assert!(!tallies(&[(3, 3), (3, 3), (100, 0)]));
        assert!(!tallies(&[(60, 60), (60, 60), (3, 0), (3, 0)]), "two plugins of many pods are still two");
    }

    fn answers() -> impl Strategy<Value = Vec<Answer>> {
        let answer = prop::sample::select(vec![Answer::Healthy, Answer::Unhealthy, Answer::Nothing]);
        prop::collection::vec(answer, 0..200)
    }

    proptest! {
        /// Between two changes from well to not well there are as many bad answers as the threshold
        /// asks for, and as many good ones in a row before it is well again.
        #[test]
        fn flaps_no_faster_than_the_thresholds_allow(answers in answers(), failure in 1..6_u32, success in 1..6_u32) {
            let terms = Thresholds { failure, success };
            let mut pod = PodHealth::default();
            let (mut good, mut bad) = (0, 0);
            for answer in answers {
                let before = pod.standing();
                pod.take(answer, terms);
                match answer {
                    Answer::Healthy => good += 1,
                    Answer::Unhealthy | Answer::Nothing => { bad += 1; good = 0; }
                }
                let is_well = |standing| standing == Some(Standing::Healthy);
                if is_well(before) && !is_well(pod.standing()) {
                    prop_assert!(bad >= failure);
                }
                if before.is_some() && !is_well(before) && is_well(pod.standing()) {
                    prop_assert!(good >= success);
                }
                if is_well(pod.standing()) && answer == Answer::Healthy { bad = 0; }
            }
        }

        /// Whatever becomes of asking, pods that have not said so themselves are never all taken out,
        /// and none is while whoever asks is mistrusted.
        #[test]
        fn never_takes_all_out_for_want_of_an_answer(
            pods in prop::collection::vec(prop::sample::select(standings("huunn-")), 1..6),
            panic in 1..=100_u32, mistrusted: bool,
        ) {
            let verdict = judge_health(&pods, panic, mistrusted);
            let said = |pod: &Option<Standing>| *pod == Some(Standing::Unhealthy);
            if !pods.iter().all(said) {
                prop_assert!(verdict.out.iter().any(|out| !out), "{verdict:?}");
                prop_assert!(verdict.status != Some(HealthStatus::Unhealthy));
            }
            for (pod, out) in pods.iter().zip(&verdict.out) {
                prop_assert_eq!(*out, said(pod) || (*out && !mistrusted && !verdict.mistrusted));
            }
        }
    }
}
