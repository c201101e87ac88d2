//! What a plugin's pods come to together: its health, and those of them that get no requests. A part
//! of what its registration comes to, without I/O or a clock as that is.

use std::collections::BTreeMap;

use forward_crds::{Ailment, Health, HealthStatus, Protocol, UnhealthyPod};
use forward_plan::{ConditionReason, HealthVerdict, Standing, Tally, judge_health};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    probe::panic_percent,
    verdict::{Facts, HEALTHY, Pod, Verdict},
};

/// How many pods without requests are told.
const PODS: usize = 100;

/// The health, and what to say of it in [`HEALTHY`].
pub(super) fn health(facts: &Facts<'_>, before: Option<&Health>) -> (Option<Health>, Option<Verdict>) {
    let standings = standings(facts);
    let found = match facts.plugin.spec.protocol {
        _ if facts.ready.is_empty() => before.map(|_| Found::unknown("no pod is ready")),
        Protocol::Http => Some(Found { status: HealthStatus::Healthy, ..Found::unknown("") }),
        Protocol::Grpc => polled(facts, before, &standings),
    };
    let Some(found) = found else {
        let health = before.cloned();
        return (health.clone(), health.map(|health| verdict(facts, &health, &standings)));
    };
    let same = before.filter(|before| before.status == found.status && before.message == found.message);
    let health = Health {
        status: found.status,
        message: found.message,
        details: found.details,
        timestamp: same.map_or(Time(found.timestamp.unwrap_or(facts.now)), |before| before.timestamp.clone()),
        unhealthy_pods: found.unhealthy_pods,
    };
    let verdict = verdict(facts, &health, &standings);
    (Some(health), Some(verdict))
}

fn verdict(facts: &Facts<'_>, health: &Health, standings: &[Option<Standing>]) -> Verdict {
    let (status, reason) = match health.status {
        HealthStatus::Healthy => ("True", ConditionReason::Healthy),
        HealthStatus::Unhealthy => ("False", ConditionReason::Unhealthy),
        HealthStatus::Unknown if facts.ready.is_empty() => ("Unknown", ConditionReason::NoReadyEndpoints),
        HealthStatus::Unknown if is_silent(facts, standings) => ("Unknown", ConditionReason::Unanswered),
        HealthStatus::Unknown => ("Unknown", ConditionReason::Unknown),
    };
    (status, reason, health.message.clone())
}

/// Whether it is for want of answers that nothing is known: now, or by what another replica found
/// before, until that is decided here.
fn is_silent(facts: &Facts<'_>, standings: &[Option<Standing>]) -> bool {
    let was_silent = || {
        let healthy = facts.plugin.status.as_ref().and_then(|status| status.condition(HEALTHY));
        healthy.is_some_and(|healthy| healthy.reason == ConditionReason::Unanswered.as_str())
    };
    Tally::of(standings).unanswered > 0 || standings.contains(&None) && was_silent()
}

struct Found {
    status: HealthStatus,
    message: String,
    details: BTreeMap<String, String>,
    timestamp: Option<Timestamp>,
    unhealthy_pods: Vec<UnhealthyPod>,
}

impl Found {
    fn unknown(message: &str) -> Self {
        Self {
            status: HealthStatus::Unknown,
            message: message.to_owned(),
            details: BTreeMap::new(),
            timestamp: None,
            unhealthy_pods: Vec::new(),
        }
    }
}

/// How many pods are asked, and how many of them do not answer.
pub fn tally(facts: &Facts<'_>) -> Tally {
    Tally::of(&standings(facts))
}

fn standings(facts: &Facts<'_>) -> Vec<Option<Standing>> {
    facts.ready.iter().map(|ready| facts.pods.get(&ready.uid)?.health.standing()).collect()
}

/// What a pod said last, or why it did not.
fn last(pod: Option<&Pod>) -> Found {
    match pod.and_then(|pod| pod.last.as_ref()) {
        Some(Ok(said)) => Found {
            details: said.details.clone(),
            timestamp: Some(said.timestamp),
            ..Found::unknown(&said.message)
        },
        Some(Err(error)) => Found::unknown(error),
        None => Found::unknown(""),
    }
}

/// What the pods come to. As long as too little is known, what was known before holds of the plugin,
/// and of each pod.
fn polled(facts: &Facts<'_>, before: Option<&Health>, standings: &[Option<Standing>]) -> Option<Found> {
    let HealthVerdict { status, out, mistrusted } =
        judge_health(standings, panic_percent(facts.plugin), facts.mistrusted);
    let pods = facts.ready.iter().map(|ready| facts.pods.get(&ready.uid)).collect::<Vec<_>>();
    let count = facts.ready.len();
    // One that has said so since it is asked here: of others it is known from before.
    let first = |wanted: Standing| {
        let spoke = |pod: &Option<&Pod>| pod.is_some_and(|pod| pod.last.is_some());
        standings.iter().zip(&pods).position(|(standing, pod)| *standing == Some(wanted) && spoke(pod))
    };
    let unhealthy_pods = unhealthy(facts, before, standings, &out, status.is_none());
    // The word of a pod for the plugin: with its name where there are several.
    let named = |index: usize| match (&facts.ready[index].pod, last(pods[index]).message) {
        (_, message) if count == 1 => message,
        (pod, message) => format!("{pod}: {message}"),
    };
    let found = match status {
        Some(HealthStatus::Healthy) => {
            let well = last(first(Standing::Healthy).and_then(|index| pods[index]));
            let message = match unhealthy_pods.first() {
                Some(UnhealthyPod { pod, message, .. }) => {
                    let bad = out.iter().filter(|out| **out).count();
                    format!("{bad} of {count} pods unhealthy: {pod}: {message}")
                }
                None => well.message.clone(),
            };
            Found { status: HealthStatus::Healthy, message, ..well }
        }
        Some(HealthStatus::Unhealthy) => {
            let index = first(Standing::Unhealthy)?;
            let message = named(index);
            Found { status: HealthStatus::Unhealthy, message, ..last(pods[index]) }
        }
        Some(HealthStatus::Unknown) => {
            let index = first(Standing::Unanswered)?;
            let silent = Tally::of(standings).unanswered;
            let doubt = match mistrusted {
                true => "the gateway may be the one that fails, and goes on sending requests",
                false => "requests go on, as no other pod is healthy",
            };
            Found::unknown(&format!("{silent} of {count} pods cannot be asked: {}; {doubt}", named(index)))
        }
        None => {
            let asked = pods.iter().find(|pod| pod.is_some_and(|pod| pod.last.is_some()));
            let known = before.filter(|before| before.status != HealthStatus::Unknown);
            match known {
                Some(Health { status, message, details, timestamp, unhealthy_pods: _ }) => Found {
                    status: *status,
                    message: message.clone(),
                    details: details.clone(),
                    timestamp: Some(timestamp.0),
                    unhealthy_pods: Vec::new(),
                },
                None => Found::unknown(&last(*asked?).message),
            }
        }
    };
    Some(Found { unhealthy_pods, ..found })
}

/// The pods that get no requests. What was said of one before stays while it is out for the same, and
/// none that is not well comes back while it is undecided what that comes to.
fn unhealthy(
    facts: &Facts<'_>,
    before: Option<&Health>,
    standings: &[Option<Standing>],
    out: &[bool],
    undecided: bool,
) -> Vec<UnhealthyPod> {
    let before = before.map_or(&[][..], |before| &before.unhealthy_pods);
    let pods = facts.ready.iter().zip(standings).zip(out);
    let told = pods.filter_map(|((ready, standing), out)| {
        let earlier = before.iter().find(|earlier| earlier.pod == ready.pod);
        let reason = match standing {
            Some(Standing::Unhealthy) => Ailment::Unhealthy,
            Some(Standing::Unanswered) => Ailment::Unanswered,
            Some(Standing::Healthy) | None => return None,
        };
        let same = earlier.filter(|earlier| earlier.reason == reason).cloned();
        let is_out = *out || (undecided && same.is_some());
        if !is_out {
            return None;
        }
        Some(same.unwrap_or_else(|| UnhealthyPod {
            pod: ready.pod.clone(),
            reason,
            message: last(facts.pods.get(&ready.uid)).message,
            since: Time(facts.now),
        }))
    });
    told.take(PODS).collect()
}
