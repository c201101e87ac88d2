//! The properties.

use std::{collections::BTreeSet, sync::Arc};

use forward_crds::Plugin;
use forward_plan::{Cause, Change, Decision, Hindrance, Judged, Obstacle, Plan, Reason, Step, Warning};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::prelude::*;

use crate::{
    simulator::Cluster,
    sketch::{Event, NAMES, Sketch, event, name, sketch},
};

/// A cluster to which these things happened. What must hold at every step is checked there:
/// nothing starts before what it needs or ends before what needs it, slots are kept, and whose
/// decision changes is told.
fn after(events: Vec<Event>) -> Cluster {
    let mut cluster = Cluster::default();
    for event in events {
        cluster.happen(event);
    }
    cluster
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..40)
}

/// A namespace in which everything is applied at once.
fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec(sketch(), 1..=NAMES)
}

fn applied(sketches: &[Sketch], keep: impl Fn(&str) -> bool) -> Cluster {
    let mut cluster = Cluster::default();
    for (index, sketch) in sketches.iter().enumerate().filter(|(index, _)| keep(&name(*index))) {
        cluster.put(index, sketch);
    }
    cluster.rest();
    cluster
}

/// Whether an obstacle is one that nobody has to be asked about but the plugin and the dependency.
fn is_plain(obstacle: &Obstacle) -> bool {
    let hindrance = Hindrance::Direct(Cause::Missing);
    let plain =
        obstacle.hindrance == hindrance || obstacle.hindrance == Hindrance::Direct(Cause::VersionConflict);
    plain && !obstacle.optional
}

/// What was foreseen of a plugin is what is decided on it now.
fn check_foreseen(warnings: &[Warning], decision: &Decision) -> Result<(), TestCaseError> {
    let foreseen = warnings.iter().find_map(|warning| match warning {
        Warning::Decision(reason) => Some(reason),
        _ => None,
    });
    let is_told = |reason: &&Reason| {
        matches!(
            reason,
            Reason::Cycle { .. }
                | Reason::Refused { .. }
                | Reason::Needed { .. }
                | Reason::NotAllowed { .. }
                | Reason::Surplus { .. }
        )
    };
    prop_assert_eq!(foreseen, Some(&decision.reason).filter(is_told));
    let obstacles = warnings.iter().filter_map(|warning| match warning {
        Warning::Dependency(obstacle) => Some(obstacle),
        _ => None,
    });
    let obstacles: Vec<&Obstacle> = obstacles.filter(|obstacle| is_plain(obstacle)).collect();
    if let Reason::Blocked { obstacles: decided, .. } = &decision.reason {
        let mut decided: Vec<&Obstacle> = decided.iter().filter(|obstacle| is_plain(obstacle)).collect();
        decided.sort_by(|a, b| a.name.cmp(&b.name));
        prop_assert_eq!(&obstacles, &decided);
    }
    let table = decision.dependencies.iter().filter(|dependency| !dependency.optional);
    let table = table.filter_map(|dependency| {
        Some((dependency.name.to_string(), dependency.message.as_ref()?.to_string()))
    });
    let table: Vec<_> =
        table.filter(|(_, why)| why == "there is no such plugin" || why.starts_with("its version")).collect();
    let told: Vec<_> = obstacles.iter().map(|obstacle| (obstacle.name.clone(), obstacle.why())).collect();
    // Of a plugin that is not to run, or may not, what it needs is not told.
    let is_left_out = matches!(
        decision.reason,
        Reason::Needed { .. } | Reason::Stopped { .. } | Reason::Disabled { .. } | Reason::Surplus { .. }
    );
    if !is_left_out {
        prop_assert_eq!(told, table);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plan_is_the_same_for_every_order_of_input(events in events(), seed in any::<u64>()) {
        let cluster = after(events);
        let mut names: Vec<_> = cluster.plugins.keys().collect();
        names.sort_by_key(|name| (name.bytes().map(u64::from).sum::<u64>() ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(cluster.plan_from_scratch(names.into_iter()), cluster.plan_from_scratch(cluster.plugins.keys()));
    }

    #[test]
    fn index_kept_by_events_equals_one_made_anew(events in events()) {
        let cluster = after(events);
        prop_assert_eq!(cluster.namespace.plan(), cluster.plan_from_scratch(cluster.plugins.keys()));
    }

    #[test]
    fn planning_again_after_applying_repeats_nothing(events in events()) {
        let mut cluster = after(events);
        let done = cluster.namespace.plan().steps;
        cluster.act();
        let next = cluster.namespace.plan().steps;
        // A deletion is planned until the plugin is gone, which takes the cluster a moment. Where
        // no pod has to go first, an end makes the next end free at once.
        prop_assert!(next.iter().all(|step| step.change == Change::Delete || !done.contains(step)), "{next:?}");
        // So it does make free a place.
        let is_expected = |step: &Step| step.change.is_down() || cluster.settings.max_plugins.is_some();
        prop_assert!(next.iter().all(is_expected), "{next:?}");
    }

    #[test]
    fn every_cluster_comes_to_rest_with_nothing_planned(events in events()) {
        let mut cluster = after(events);
        cluster.rest();
        let plan = cluster.namespace.plan();
        prop_assert!(plan.steps.is_empty());
        // Where nothing moves, nobody waits for something to move.
        for (name, decision) in plan.decisions {
            let waits = matches!(
                decision.reason,
                Reason::Waiting { .. } | Reason::Queued { .. } | Reason::RollingOut { .. } | Reason::Unregistered
            );
            prop_assert!(!waits, "{name}: {}", decision.reason);
        }
    }

    /// By the rules of kstatus a plugin is then current, in progress or failed, and which is plain.
    #[test]
    fn one_of_ready_reconciling_and_stalled_holds(events in events()) {
        let cluster = after(events);
        for (name, decision) in cluster.namespace.plan().decisions {
            let holds = |type_: &&str| {
                decision.conditions.iter().any(|it| it.type_ == *type_ && it.status == "True")
            };
            let held: Vec<_> = ["Ready", "Reconciling", "Stalled"].into_iter().filter(holds).collect();
            prop_assert!(held.len() == 1, "{}: {:?} for {}", name, held, decision.reason);
        }
    }

    #[test]
    fn order_of_events_does_not_decide_where_a_first_start_ends(sketches in sketches(), first in 0..NAMES) {
        let together = applied(&sketches, |_| true);
        let mut apart = Cluster::default();
        for (index, sketch) in sketches.iter().enumerate().cycle().skip(first).take(sketches.len()) {
            apart.put(index, sketch);
        }
        apart.rest();
        prop_assert_eq!(together.namespace.plan(), apart.namespace.plan());
    }

    #[test]
    fn deleting_everything_at_once_ends(events in events()) {
        let mut cluster = after(events);
        for index in 0..NAMES {
            cluster.delete(&name(index), false);
        }
        cluster.rest();
        prop_assert!(cluster.plugins.is_empty(), "left: {:?}", cluster.namespace.plan().decisions);
    }

    #[test]
    fn what_is_foreseen_of_an_edit_is_what_is_decided_after_it(events in events(), index in 0..NAMES, sketch in sketch()) {
        let mut cluster = after(events);
        let plugin = sketch.plugin(index, 1);
        let (name, known) = (name(index), cluster.plugins.get(&name(index)));
        let is_edit = known.is_none_or(|known| known.metadata.deletion_timestamp.is_none() && known.spec != plugin.spec);
        prop_assume!(is_edit);
        let plan = cluster.namespace.plan();
        let judged = Arc::new(Judged::of(&plugin));
        let warnings = cluster.namespace.foresee(Arc::new(plugin), judged);
        prop_assert_eq!(&cluster.namespace.plan(), &plan, "looking ahead has changed something");
        cluster.put(index, &sketch);
        // What is foreseen of one plugin does not look at whose place it takes.
        let others_without_place = |plan: &Plan| -> Vec<String> {
            let others = plan.decisions.iter().filter(|(other, _)| *other != name);
            let left = others.filter(|(_, decision)| matches!(decision.reason, Reason::Surplus { .. }));
            left.map(|(other, _)| other.clone()).collect()
        };
        prop_assume!(others_without_place(&plan) == others_without_place(&cluster.namespace.plan()));
        check_foreseen(&warnings, &cluster.namespace.decide(&name).unwrap())?;
    }

    #[test]
    fn what_is_foreseen_of_a_deletion_is_what_is_decided_after_it(events in events(), index in 0..NAMES) {
        let mut cluster = after(events);
        let name = name(index);
        let known = cluster.plugins.get(&name).filter(|known| known.metadata.deletion_timestamp.is_none());
        let Some(known) = known else { return Ok(()) };
        let mut plugin = Plugin::clone(known);
        plugin.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let judged = Arc::new(Judged::of(&plugin));
        let warnings = cluster.namespace.foresee(Arc::new(plugin), judged);
        cluster.delete(&name, false);
        let decision = cluster.namespace.decide(&name).unwrap();
        let needed = matches!(decision.reason, Reason::Needed { .. }).then_some(Warning::Decision(decision.reason));
        prop_assert_eq!(warnings.iter().find(|warning| matches!(warning, Warning::Decision(_))), needed.as_ref());
    }

    #[test]
    fn cycle_does_not_touch_outsiders(sketches in sketches()) {
        let all = applied(&sketches, |_| true);
        let members: BTreeSet<String> =
            all.plugins.keys().filter(|name| all.reaches(name, name)).cloned().collect();
        let rest = applied(&sketches, |name| !members.contains(name));
        for name in rest.plugins.keys() {
            let plugin = &all.plugins[name];
            let knows = |member: &String| {
                all.reaches(name, member) || plugin.spec.dependencies.iter().any(|need| need.name == *member)
            };
            let waits_for_one_that_knows = !members.iter().any(knows);
            if waits_for_one_that_knows {
                let (with, without) = (all.namespace.decide(name), rest.namespace.decide(name));
                prop_assert_eq!(with.map(|it| (it.action, it.state)), without.map(|it| (it.action, it.state)));
            }
        }
    }

    #[test]
    fn members_of_a_cycle_name_all_members_and_a_way_round(sketches in sketches()) {
        let cluster = applied(&sketches, |_| true);
        for (name, decision) in cluster.namespace.plan().decisions {
            if let Reason::Cycle { members, path, .. } = decision.reason {
                let both_ways = |other: &&String| cluster.reaches(&name, other) && cluster.reaches(other, &name);
                let expected: Vec<_> = cluster.plugins.keys().filter(both_ways).cloned().collect();
                prop_assert_eq!(members, expected);
                prop_assert_eq!((path.first(), path.last()), (Some(&name), Some(&name)));
                for step in path.windows(2) {
                    prop_assert!(cluster.reaches(&step[0], &step[1]));
                }
            }
        }
    }
}
