//! When a plugin entered its state, and how long it took to come up. Owns what is kept of times in the
//! status: what the API server tells is taken from there, and what only a look at the right moment
//! can tell is written down once and kept.

use forward_crds::{PluginState, PluginStatus, Timings};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::model::{Observed, Pod, PodPhase};

/// Since when a plugin is in `state`, by what its status said before: since `now` where that was
/// another one.
pub fn state_time(before: &PluginStatus, state: PluginState, now: Timestamp) -> Time {
    let same = before.state_time.clone().filter(|_| before.state == Some(state));
    same.unwrap_or(Time(now))
}

/// How long the newest pod that came up took, by what the status said before and what is seen `now`.
/// A pod that was ready once is measured no more, and what was measured stays when no pod is left.
pub fn timings(before: &PluginStatus, observed: &Observed, now: Timestamp) -> Option<Timings> {
    let before = before.timings.as_ref();
    let measured = |pod: &&Pod| before.is_some_and(|before| before.pod == pod.name);
    let pods = || observed.pods.iter().filter(|pod| pod.current && pod.up.is_some());
    let furthest = || pods().max_by_key(|pod| (pod.phase, std::cmp::Reverse(&pod.name)));
    let Some(pod) = pods().find(measured).or_else(furthest) else { return before.cloned() };
    match before.filter(|_| measured(&pod)) {
        Some(before) if before.start.is_some() => Some(before.clone()),
        before => measure(pod, before, now).or_else(|| before.cloned()),
    }
}

fn measure(pod: &Pod, before: Option<&Timings>, now: Timestamp) -> Option<Timings> {
    let (created, up) = (pod.created.as_ref()?, pod.up.as_ref()?);
    let seen = before.and_then(|before| before.initialize);
    let (initialize, start) = match pod.phase {
        PodPhase::Pending | PodPhase::Loaded | PodPhase::Terminating | PodPhase::Ended => (None, None),
        PodPhase::Initialized => (Some(seen.unwrap_or_else(|| seconds(up.0, now))), None),
        PodPhase::Ready => {
            let both = seconds(up.0, pod.ready.as_ref()?.0);
            let initialize = seen.unwrap_or(both);
            (Some(initialize), Some((both - initialize).max(0)))
        }
    };
    Some(Timings { pod: pod.name.clone(), load: seconds(created.0, up.0), initialize, start })
}

/// Whole seconds from one moment to another; clocks of different machines may have it the other way.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    from.duration_until(to).as_secs().max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A pod that was created at 0, with its process up at 3 and ready at 9 where it came so far.
    fn pod(phase: PodPhase) -> Pod {
        let time = |second| Some(Time(at(second)));
        let up = if phase == PodPhase::Pending { None } else { time(3) };
        let ready = if phase == PodPhase::Ready { time(9) } else { None };
        Pod { name: "a".into(), current: true, phase, created: time(0), up, ready, ..Pod::default() }
    }

    fn seen(pods: Vec<Pod>) -> Observed {
        Observed { pods, ..Observed::default() }
    }

    fn measured(load: i64, initialize: Option<i64>, start: Option<i64>) -> Option<Timings> {
        Some(Timings { pod: "a".into(), load, initialize, start })
    }

    /// What comes of looks at a pod in several phases, each at its second.
    fn after(looks: &[(PodPhase, i64)]) -> PluginStatus {
        looks.iter().fold(PluginStatus::default(), |before, (phase, second)| {
            let timings = timings(&before, &seen(vec![pod(*phase)]), at(*second));
            PluginStatus { timings, ..before }
        })
    }

    #[test]
    fn each_step_is_measured_when_it_is_seen() {
        use PodPhase::{Initialized, Loaded, Pending, Ready};
        assert_eq!(after(&[(Pending, 1)]).timings, None);
        assert_eq!(after(&[(Pending, 1), (Loaded, 4)]).timings, measured(3, None, None));
        let steps = [(Loaded, 4), (Initialized, 7), (Initialized, 8)];
        assert_eq!(after(&steps).timings, measured(3, Some(4), None), "the first look counts");
        assert_eq!(
            after(&[(Loaded, 4), (Initialized, 7), (Ready, 12)]).timings,
            measured(3, Some(4), Some(2))
        );
    }

    #[test]
    fn who_looks_only_at_the_end_knows_the_sum() {
        assert_eq!(after(&[(PodPhase::Ready, 500)]).timings, measured(3, Some(6), Some(0)));
    }

    #[test]
    fn a_process_that_is_started_again_is_measured_anew_until_it_was_ready() {
        use PodPhase::{Initialized, Loaded, Ready};
        assert_eq!(after(&[(Initialized, 5), (Loaded, 6)]).timings, measured(3, None, None));
        let ready = after(&[(Initialized, 5), (Ready, 9)]);
        let mut later = pod(Loaded);
        later.up = Some(Time(at(600)));
        assert_eq!(timings(&ready, &seen(vec![later]), at(601)), measured(3, Some(2), Some(4)));
        assert_eq!(timings(&ready, &Observed::default(), at(700)), ready.timings, "it is kept");
    }

    #[test]
    fn the_first_pod_of_a_new_template_replaces_those_of_the_old() {
        let ready = after(&[(PodPhase::Ready, 9)]);
        let old = Pod { current: false, ..pod(PodPhase::Ready) };
        let waiting = Pod { name: "b".into(), ..pod(PodPhase::Pending) };
        let looks = timings(&ready, &seen(vec![old.clone(), waiting]), at(20));
        assert_eq!(looks, ready.timings, "its process is not up");
        let up = Pod { name: "b".into(), ..pod(PodPhase::Loaded) };
        assert_eq!(timings(&ready, &seen(vec![old, up]), at(21)).unwrap().pod, "b");
    }

    #[test]
    fn a_state_keeps_its_time_until_it_is_another() {
        let before = PluginStatus {
            state: Some(PluginState::Started),
            state_time: Some(Time(at(1))),
            ..PluginStatus::default()
        };
        assert_eq!(state_time(&before, PluginState::Started, at(9)), Time(at(1)));
        assert_eq!(state_time(&before, PluginState::Error, at(9)), Time(at(9)));
        assert_eq!(state_time(&PluginStatus::default(), PluginState::Unloaded, at(9)), Time(at(9)));
    }
}
