//! Looks at everything that could be done about a plugin and those who need it. Knows nothing of
//! intervals: a range is what it says of each version of a universe.

use std::collections::{BTreeMap, BTreeSet};

use forward_plan::{Conflict, ConflictKind, Edit, Range, Resolution, Versions};
use semver::Version;

/// Which versions of the universe, a bit for each.
pub type Mask = u128;

/// Versions such that whatever two of the ranges in these tests do not have in common shows.
pub struct Universe {
    versions: Vec<Version>,
    masks: BTreeMap<String, Mask>,
}

impl Universe {
    pub fn new() -> Self {
        let triples = ["0.1.0", "1.0.0", "1.0.1", "1.0.2", "1.2.0", "2.0.0", "2.0.1", "3.0.0", "4.0.0"];
        let tails = ["", "-0", "-a", "-a.0", "-a.1", "-b", "-b.0", "-c"];
        let all = triples.iter().flat_map(|triple| tails.iter().map(move |tail| format!("{triple}{tail}")));
        let versions: Vec<Version> = all.map(|text| Version::parse(&text).unwrap()).collect();
        assert!(versions.len() <= 128);
        Self { versions, masks: BTreeMap::new() }
    }

    /// The versions that a range has in it.
    pub fn of_range(&mut self, range: Option<&str>) -> Mask {
        let Some(range) = range else { return self.of(|_| true) };
        if let Some(mask) = self.masks.get(range) {
            return *mask;
        }
        let read = Range::parse(range).unwrap();
        let mask = self.of(|version| read.accepts(version));
        self.masks.insert(range.to_owned(), mask);
        mask
    }

    /// One version.
    pub fn of_version(&self, text: &str) -> Mask {
        let mask = self.of(|version| version.to_string() == text);
        assert_ne!(mask, 0, "{text} is not of the universe");
        mask
    }

    fn of(&self, has: impl Fn(&Version) -> bool) -> Mask {
        let all = self.versions.iter().enumerate();
        all.filter(|(_, version)| has(version)).fold(0, |mask, (place, _)| mask | 1 << place)
    }

    /// The versions that a text stands for.
    fn of_text(&mut self, to: &Versions) -> Mask {
        match to {
            Versions::Any => self.of_range(Some("*")),
            Versions::One(version) => self.of_range(Some(&format!("={version}"))),
            Versions::In(range) => self.of_range(Some(range)),
        }
    }
}

/// A plugin and those who need it.
pub struct Star {
    pub hub: &'static str,
    /// Absent where there is no such plugin.
    pub version: Option<(&'static str, Mask)>,
    pub dependents: Vec<Dependent>,
}

pub struct Dependent {
    pub name: &'static str,
    pub accepts: Mask,
}

/// What one does about a star: a version for the hub, or to leave it, and whose ranges to change.
type Solution = (bool, BTreeSet<&'static str>);

fn subsets<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    let of = |bits: usize| items.iter().enumerate().filter(move |(place, _)| bits & (1 << place) != 0);
    (0..1 << items.len()).map(|bits| of(bits).map(|(_, item)| *item).collect()).collect()
}

impl Star {
    fn names(&self) -> Vec<&'static str> {
        self.dependents.iter().map(|dependent| dependent.name).collect()
    }

    pub fn refuses(&self, dependent: &Dependent) -> bool {
        self.version.is_none_or(|(_, version)| dependent.accepts & version == 0)
    }

    /// What those accept together who are not in `changed`; those in it accept everything.
    fn accepted(&self, changed: &BTreeSet<&str>) -> Mask {
        let kept = self.dependents.iter().filter(|dependent| !changed.contains(dependent.name));
        kept.fold(Mask::MAX, |mask, dependent| mask & dependent.accepts)
    }

    /// Whether all agree where the hub stays as it is, or missing.
    fn is_resolved(&self, changed: &BTreeSet<&str>) -> bool {
        match self.version {
            Some((_, version)) => self.accepted(changed) & version != 0,
            None => changed.len() == self.dependents.len(),
        }
    }

    /// All solutions with as few edits as can be, of those that leave the hub if `stay`.
    fn smallest(&self, universe: &mut Universe, stay: bool) -> (usize, BTreeSet<Solution>) {
        let all = universe.of_range(None);
        let mut best: (usize, BTreeSet<Solution>) = (usize::MAX, BTreeSet::new());
        for changed in subsets(&self.names()) {
            let changed: BTreeSet<_> = changed.into_iter().collect();
            let moves = !stay && self.accepted(&changed) & all != 0;
            for (moved, found) in [(true, moves), (false, self.is_resolved(&changed))] {
                let size = changed.len() + usize::from(moved);
                if found && size <= best.0 {
                    if size < best.0 {
                        best = (size, BTreeSet::new());
                    }
                    best.1.insert((moved, changed.clone()));
                }
            }
        }
        best
    }

    /// Whether no version at all would do for these.
    fn excludes(&self, names: &[&str], universe: &mut Universe) -> bool {
        let members = self.dependents.iter().filter(|dependent| names.contains(&dependent.name));
        members.fold(universe.of_range(None), |mask, dependent| mask & dependent.accepts) == 0
    }

    /// The sizes of the smallest sets of dependents that exclude each other.
    fn smallest_exclusive(&self, universe: &mut Universe) -> Option<usize> {
        let sets = subsets(&self.names());
        sets.iter().filter(|names| self.excludes(names, universe)).map(Vec::len).min()
    }

    pub fn check_conflict(&self, by: &str, conflict: &Conflict, universe: &mut Universe) {
        let members: Vec<&str> = conflict.members.iter().map(String::as_str).collect();
        match (&conflict.kind, self.smallest_exclusive(universe)) {
            (ConflictKind::Exclusive { ranges }, Some(size)) => {
                assert_eq!(members.len(), size, "{conflict:?}");
                assert!(self.excludes(&members, universe), "{conflict:?}");
                assert!(ranges.iter().map(|member| &member.name).eq(&conflict.members), "{conflict:?}");
            }
            // No dependent alone is at odds with all versions, so that two is the least.
            (ConflictKind::Version, None) => {
                let mut expected = [by, self.hub];
                expected.sort_unstable();
                assert_eq!(members, expected);
            }
            (ConflictKind::Missing, None) => assert_eq!(members, [by]),
            (_, exclusive) => panic!("{conflict:?}, but {exclusive:?} exclude each other"),
        }
        let (size, solutions) = self.smallest(universe, false);
        let found: BTreeSet<Solution> = self.solutions(&conflict.resolutions, universe);
        assert!(found.is_subset(&solutions), "{conflict:?}: {found:?} are not of {solutions:?}");
        assert_eq!(found.len(), solutions.len().min(3), "{conflict:?}: {solutions:?}");
        assert_eq!(found.len(), conflict.resolutions.len(), "{conflict:?}");
        assert!(conflict.resolutions.iter().all(|resolution| resolution.edits.len() == size), "{conflict:?}");
    }

    /// What is said of a new version that is held: the last way out lets it through.
    pub fn check_ways_out(&self, resolutions: &[Resolution], universe: &mut Universe) {
        let (size, solutions) = self.smallest(universe, false);
        let (staying, stays) = self.smallest(universe, true);
        let (last, others) = resolutions.split_last().expect("there is a way out");
        assert_eq!(
            (last.edits.len(), self.solutions(std::slice::from_ref(last), universe)),
            (staying, stays)
        );
        let found = self.solutions(others, universe);
        assert!(found.is_subset(&solutions) && found.iter().all(|(moved, _)| *moved), "{resolutions:?}");
        assert!(others.iter().all(|resolution| resolution.edits.len() == size), "{resolutions:?}");
        let moves = solutions.iter().filter(|(moved, _)| *moved).count();
        assert_eq!(others.len(), moves.min(2), "{resolutions:?}");
    }

    /// The resolutions as solutions, each of them tried.
    fn solutions(&self, resolutions: &[Resolution], universe: &mut Universe) -> BTreeSet<Solution> {
        resolutions.iter().map(|resolution| self.solution(resolution, universe)).collect()
    }

    fn solution(&self, resolution: &Resolution, universe: &mut Universe) -> Solution {
        assert!(!resolution.others, "{resolution:?}");
        let (mut moved, mut changed) = (None, BTreeSet::new());
        let known = |plugin: &String| self.names().into_iter().find(|name| name == plugin).unwrap();
        for edit in &resolution.edits {
            match edit {
                Edit::SetVersion { plugin, to } | Edit::Add { plugin, to } => {
                    assert_eq!((plugin.as_str(), moved), (self.hub, None));
                    assert_eq!(self.version.is_some(), matches!(edit, Edit::SetVersion { .. }));
                    moved = Some(to);
                }
                Edit::Accept { plugin, version } => {
                    let expected = self.version.filter(|_| moved.is_none());
                    assert_eq!(version.as_deref(), expected.map(|(text, _)| text));
                    assert!(changed.insert(known(plugin)));
                }
                Edit::MakeOptional { plugin, dependency } => {
                    assert_eq!((dependency.as_str(), self.version), (self.hub, None));
                    assert!(changed.insert(known(plugin)));
                }
            }
        }
        let Some(to) = moved else {
            assert!(self.is_resolved(&changed), "{resolution:?}");
            return (false, changed);
        };
        let said = universe.of_text(to);
        assert_ne!(said, 0, "{resolution:?}");
        assert_eq!(said & !self.accepted(&changed), 0, "{resolution:?} says too much");
        (true, changed)
    }
}
