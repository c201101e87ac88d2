//! One plugin and those that need it, with ranges of every kind: all of up to three, some of six.

use forward_plan::{Hindrance, Namespace, Reason};
use proptest::prelude::*;

use crate::{
    plugins::{Plugins, at_rest, serving},
    search::{Dependent, Star, Universe},
};

const DEPENDENTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const VERSIONS: [Option<&str>; 5] = [Some("1.0.0"), Some("2.0.0"), Some("2.0.0-b"), Some("4.0.0"), None];
/// No range, ranges that exclude each other, ranges within each other, an empty one, and three that
/// have pre-releases in common two by two and nothing together.
const RANGES: [Option<&str>; 11] = [
    None,
    Some("*"),
    Some("1.0"),
    Some("^2"),
    Some(">=1, <3"),
    Some("=2.0.0"),
    Some(">2, <1"),
    Some(">=2.0.0-a, <2.0.0"),
    Some(">1.0.0-a, <1.0.1-b"),
    Some(">1.0.1-a, <1.0.2-b"),
    Some(">1.0.0-a, <1.0.2-b"),
];

/// Every way in which up to three plugins can need the hub; nothing stands for one that does not.
fn all_needs() -> impl Iterator<Item = [Option<Option<&'static str>>; 3]> {
    let choices = || RANGES.into_iter().map(Some).chain([None]);
    choices().flat_map(move |a| choices().flat_map(move |b| choices().map(move |c| [a, b, c])))
}

fn star(
    version: Option<&'static str>,
    needs: &[Option<Option<&'static str>>],
    universe: &mut Universe,
) -> Star {
    let dependents = DEPENDENTS.into_iter().zip(needs);
    let dependents = dependents
        .filter_map(|(name, range)| Some(Dependent { name, accepts: universe.of_range((*range)?) }))
        .collect();
    let version = version.map(|version| (version, universe.of_version(version)));
    Star { hub: "hub", version, dependents }
}

/// Compare what each dependent of a star is told; the answer is how many are told something.
fn check(
    version: Option<&'static str>,
    needs: &[Option<Option<&'static str>>],
    universe: &mut Universe,
    plugins: &mut Plugins,
) -> usize {
    let star = star(version, needs, universe);
    let hub = version.map(|version| plugins.get("hub", version, vec![]));
    let needing = DEPENDENTS.into_iter().zip(needs).filter_map(|(name, range)| Some((name, (*range)?)));
    let needing = needing.map(|(name, range)| plugins.get(name, "1.0.0", vec![("hub", range)]));
    let namespace = at_rest(needing.collect::<Vec<_>>().into_iter().chain(hub));
    let mut conflicts = 0;
    for dependent in &star.dependents {
        let reason = namespace.decide(dependent.name).unwrap().reason;
        let Reason::Blocked { obstacles, .. } = &reason else {
            assert!(!star.refuses(dependent), "{version:?}, {needs:?}: {reason}");
            continue;
        };
        let direct = matches!(obstacles[0].hindrance, Hindrance::Direct(_));
        assert!(star.refuses(dependent) && direct, "{reason}");
        let conflict = obstacles[0].conflict.as_ref().expect("who refuses is told of the conflict");
        star.check_conflict(dependent.name, conflict, universe);
        conflicts += 1;
    }
    conflicts
}

#[test]
fn every_star_is_told_smallest_sets_and_fewest_edits() {
    let (mut universe, mut plugins, mut conflicts) = (Universe::new(), Plugins::default(), 0);
    for version in VERSIONS {
        for needs in all_needs() {
            conflicts += check(version, &needs, &mut universe, &mut plugins);
        }
    }
    assert!(conflicts > 10_000, "only {conflicts} conflicts");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_stars_are_told_no_less(
        version in prop::sample::select(&VERSIONS[..]),
        needs in prop::collection::vec(prop::sample::select(&RANGES[..]), 4..=6),
    ) {
        let needs: Vec<_> = needs.into_iter().map(Some).collect();
        check(version, &needs, &mut Universe::new(), &mut Plugins::default());
    }
}

#[test]
fn every_update_that_is_held_is_told_what_frees_it() {
    let (mut universe, mut plugins, mut held) = (Universe::new(), Plugins::default(), 0);
    for (from, to) in [("1.0.0", "2.0.0"), ("2.0.0", "2.0.0-b"), ("2.0.0-b", "1.0.0"), ("2.0.0", "4.0.0")] {
        for needs in all_needs() {
            let star = star(Some(to), &needs, &mut universe);
            let hub = plugins.get("hub", to, vec![]);
            let mut namespace = at_rest([]);
            for (name, range) in DEPENDENTS.into_iter().zip(needs) {
                let Some(range) = range else { continue };
                let dependent = plugins.get(name, "1.0.0", vec![("hub", range)]);
                let observed = serving(&dependent, "1.0.0");
                namespace.apply(dependent, observed);
            }
            let observed = serving(&hub, from);
            namespace.apply(hub, observed);
            let old = universe.of_version(from);
            let refuses = |dependent: &Dependent| dependent.accepts & old != 0 && star.refuses(dependent);
            let reason = namespace.decide("hub").unwrap().reason;
            let Reason::Refused { dependents, resolutions, .. } = &reason else {
                assert!(!star.dependents.iter().any(refuses), "{reason}");
                continue;
            };
            let expected = star.dependents.iter().filter(|dependent| refuses(dependent));
            assert!(dependents.iter().map(|it| it.name.as_str()).eq(expected.map(|it| it.name)), "{reason}");
            star.check_ways_out(resolutions, &mut universe);
            held += 1;
        }
    }
    assert!(held > 1_000, "only {held} updates were held");
}

#[test]
fn update_that_nobody_who_runs_refuses_is_not_held() {
    let mut plugins = Plugins::default();
    let hub = plugins.get("hub", "2.0.0", vec![]);
    let mut namespace = at_rest([plugins.get("a", "1.0.0", vec![("hub", Some("1"))])]);
    namespace.apply(hub.clone(), serving(&hub, "1.0.0"));
    assert!(!matches!(namespace.decide("hub").unwrap().reason, Reason::Refused { .. }));
}

#[test]
fn update_that_is_held_hears_of_ranges_that_close_a_way_out() {
    let mut plugins = Plugins::default();
    let hub = plugins.get("hub", "2.0.0", vec![]);
    let refuses = plugins.get("a", "1.0.0", vec![("hub", Some("^1"))]);
    let [before, after] = [None, Some("^2")].map(|range| plugins.get("b", "1.0.0", vec![("hub", range)]));
    let mut namespace = at_rest([]);
    namespace.apply(refuses.clone(), serving(&refuses, "1.0.0"));
    namespace.apply(before.clone(), serving(&before, "1.0.0"));
    namespace.apply(hub.clone(), serving(&hub, "1.0.0"));
    let said = |namespace: &Namespace| namespace.decide("hub").unwrap().reason.to_string();
    assert!(
        said(&namespace).ends_with("fix: set hub to a version in >=1.0.0, <2.0.0, or let a accept 2.0.0")
    );
    // It refuses nothing: what it needs is the new version.
    let touched = namespace.apply(after, serving(&before, "1.0.0"));
    assert!(said(&namespace).ends_with("fix: let a accept 2.0.0"), "{}", said(&namespace));
    assert!(touched.contains("hub"), "{touched:?}");
}
