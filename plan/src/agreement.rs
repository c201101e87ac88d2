//! Whether those who need one plugin can agree on its version, and what would make them. Owns the
//! search; costs what there are different ranges, not what there are dependents.
//!
//! Ranges are intervals of versions. If pre-releases did not exist, ranges of which every two have
//! a version in common would have one that is common to all. With them that fails in one way: when
//! all intervals meet only between the pre-releases of one version and somebody's range names none
//! of these. Then that range excludes the two with the innermost ends, or one that has nothing but
//! such pre-releases. So three ranges are always enough to exclude each other, and a smallest set
//! is found in one pass.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use forward_crds::Word;
use litemap::LiteMap;
use semver::Version;

use crate::{
    conflict::{EDITS, Edit, RESOLUTIONS, Refusal, Resolution, Versions},
    range::{Range, SharedRange, Triple, first, next, release, triple},
};

/// Who has one and the same range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Absent where every version will do.
    pub range: Option<SharedRange>,
    pub by: Names,
}

/// Names in order. Most plugins are needed by few, for which a tree would be large.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names(Vec<Word>);

/// The claims on one plugin, by the text of the range.
pub type Claims = LiteMap<Option<Word>, Claim>;

/// A plugin and those who cannot do without it.
pub struct Star<'a> {
    pub name: &'a str,
    /// Absent where there is no such plugin.
    pub version: Option<&'a Version>,
    pub claims: &'a Claims,
}

/// What follows from a star in which not all agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// A smallest set of dependents that exclude each other, by name; empty where none do.
    pub exclusive: Vec<Refusal>,
    pub resolutions: Vec<Resolution>,
}

/// How many of some ranges a version is in.
#[derive(Default)]
struct Coverage<'a> {
    starts: Vec<(&'a Version, usize)>,
    ends: Vec<(&'a Version, usize)>,
}

impl Names {
    pub fn insert(&mut self, name: &Word) {
        if let Err(place) = self.find(name) {
            if self.len() < 4 {
                self.0.reserve_exact(1);
            }
            self.0.insert(place, name.clone());
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Ok(place) = self.find(name) {
            self.0.remove(place);
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.binary_search_by(|it| it.as_str().cmp(name))
    }
}

impl Deref for Names {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
        &self.0
    }
}

impl Claim {
    pub fn refuses(&self, version: &Version) -> bool {
        self.range.as_ref().is_some_and(|range| !range.accepts(version))
    }
}

impl Star<'_> {
    /// What is to be said where not all agree.
    pub fn disagreement(&self) -> Option<Disagreement> {
        let disagrees = match self.version {
            Some(version) => self.claims.values().any(|claim| claim.refuses(version)),
            None => !self.claims.is_empty(),
        };
        disagrees.then(|| Disagreement { exclusive: self.exclusive(), resolutions: self.resolutions(false) })
    }

    /// The ways out that take the fewest edits. Those that change the plugin come first, the newest
    /// version first, then that which leaves it; `stay` asks for that one even where it takes more.
    pub fn resolutions(&self, stay: bool) -> Vec<Resolution> {
        let staying = match self.version {
            Some(version) => self.count(|claim| claim.refuses(version)),
            None => self.count(|_| true),
        };
        let (refusals, best) = self.best();
        let moving = refusals + 1;
        let stays = stay || staying <= moving;
        let mut resolutions = Vec::new();
        if moving <= staying {
            let room = RESOLUTIONS - usize::from(stays);
            resolutions.extend(self.moves(&best, room));
        }
        if stays {
            resolutions.push(self.stay());
        }
        resolutions
    }

    fn ranges(&self) -> impl Iterator<Item = (&Range, &Claim)> {
        self.claims.values().filter_map(|claim| Some((claim.range.as_deref()?, claim)))
    }

    fn count(&self, wanted: impl Fn(&Claim) -> bool) -> usize {
        self.claims.values().filter(|claim| wanted(claim)).map(|claim| claim.by.len()).sum()
    }

    /// A smallest set of dependents whose ranges have no version in common.
    fn exclusive(&self) -> Vec<Refusal> {
        let found = self.exclusive_claims();
        let mut members: Vec<Refusal> = found.into_iter().filter_map(Self::spokesman).collect();
        members.sort();
        members
    }

    fn spokesman((text, claim): (&Option<Word>, &Claim)) -> Option<Refusal> {
        Some(Refusal { name: claim.by.first()?.to_string(), range: text.as_ref()?.to_string() })
    }

    fn exclusive_claims(&self) -> Vec<(&Option<Word>, &Claim)> {
        let ranges = || {
            let ranges =
                self.claims.iter().filter_map(|(text, claim)| Some((claim.range.as_deref()?, text, claim)));
            // Who is first by name speaks for those with the same end.
            ranges.map(|(range, text, claim)| (range, (text, claim), claim.by.first()))
        };
        let empty = ranges().filter(|(range, _, _)| range.is_empty()).min_by_key(|(_, _, name)| *name);
        if let Some((_, claim, _)) = empty {
            return vec![claim];
        }
        let lower = ranges().max_by_key(|(range, _, name)| (&range.from, Reverse(*name)));
        let ends = ranges().filter_map(|(range, claim, name)| Some((range.until.as_ref()?, claim, name)));
        let upper = ends.min_by_key(|(until, _, name)| (*until, *name));
        let (Some((low, lowest, _)), Some((until, uppermost, _))) = (lower, upper) else { return Vec::new() };
        if *until <= low.from {
            return vec![lowest, uppermost];
        }
        let named = triple(&low.from);
        if low.from.pre.is_empty() || release(named) < *until {
            return Vec::new();
        }
        // All meet, but only between pre-releases of one version.
        let of_first = |claims: &mut dyn Iterator<Item = (&Range, _, _)>| {
            claims.min_by_key(|(_, _, name)| *name).map(|(_, claim, _)| claim)
        };
        let silent = of_first(&mut ranges().filter(|(range, _, _)| !range.named.contains(&named)));
        let is_within = |range: &Range| {
            let ends = range.until.as_ref().is_some_and(|until| *until <= release(named));
            ends && !range.from.pre.is_empty() && triple(&range.from) == named
        };
        let within = of_first(&mut ranges().filter(|(range, _, _)| is_within(range)));
        match (silent, within) {
            (Some(silent), Some(within)) => vec![silent, within],
            (Some(silent), None) => vec![silent, lowest, uppermost],
            (None, _) => Vec::new(),
        }
    }

    /// How few can refuse one and the same version, and versions that so few refuse: releases before
    /// pre-releases, newer before older. Whoever can accept a version together with others, as many
    /// as can, accepts one of these.
    fn best(&self) -> (usize, Vec<Version>) {
        let mut overall = Coverage::default();
        let mut within: BTreeMap<Triple, Coverage<'_>> = BTreeMap::new();
        let mut candidates = BTreeSet::from([(true, Version::new(0, 0, 0))]);
        for (range, claim) in self.ranges().filter(|(range, _)| !range.is_empty()) {
            overall.add(range, claim.by.len());
            for triple in &range.named {
                within.entry(*triple).or_default().add(range, claim.by.len());
            }
            let starts = range.named.iter().map(|triple| first(*triple));
            for version in starts.chain([range.from.clone(), release(triple(&range.from))]) {
                if range.accepts(&version) {
                    candidates.insert((version.pre.is_empty(), version));
                }
            }
        }
        overall.settle();
        within.values_mut().for_each(Coverage::settle);
        let accepted = |version: &Version| match version.pre.is_empty() {
            true => overall.at(version),
            false => within.get(&triple(version)).map_or(0, |coverage| coverage.at(version)),
        };
        let counted: Vec<_> =
            candidates.into_iter().rev().map(|(_, version)| (accepted(&version), version)).collect();
        let most = counted.iter().map(|(count, _)| *count).max().unwrap_or(0);
        let all: usize = self.ranges().map(|(_, claim)| claim.by.len()).sum();
        let best = counted.into_iter().filter(|(count, _)| *count == most);
        (all - most, best.map(|(_, version)| version).collect())
    }

    /// To set the plugin to one of some versions and change the ranges of those who refuse it: one
    /// resolution for each choice of who refuses.
    fn moves(&self, versions: &[Version], room: usize) -> Vec<Resolution> {
        let mut seen = BTreeSet::new();
        let mut resolutions = Vec::new();
        for version in versions {
            let refusing: Vec<&Claim> = self.claims.values().filter(|claim| claim.refuses(version)).collect();
            let refusing_ranges: Vec<&Option<SharedRange>> =
                refusing.iter().map(|claim| &claim.range).collect();
            if resolutions.len() == room || !seen.insert(refusing_ranges) {
                continue;
            }
            let accepting = self.ranges().map(|(range, _)| range).filter(|range| range.accepts(version));
            let (plugin, to) = (self.name.to_owned(), around(version, accepting));
            let first = match self.version {
                Some(_) => Edit::SetVersion { plugin, to },
                None => Edit::Add { plugin, to },
            };
            resolutions
                .push(resolution(Some(first), refusing, |plugin| Edit::Accept { plugin, version: None }));
        }
        resolutions
    }

    /// To leave the plugin as it is, or missing.
    fn stay(&self) -> Resolution {
        let Some(version) = self.version else {
            let dependency = || self.name.to_owned();
            let edit = |plugin| Edit::MakeOptional { plugin, dependency: dependency() };
            return resolution(None, self.claims.values().collect(), edit);
        };
        let refusing = self.claims.values().filter(|claim| claim.refuses(version)).collect();
        let text = version.to_string();
        resolution(None, refusing, |plugin| Edit::Accept { plugin, version: Some(text.clone()) })
    }
}

impl<'a> Coverage<'a> {
    fn add(&mut self, range: &'a Range, weight: usize) {
        self.starts.push((&range.from, weight));
        self.ends.extend(range.until.as_ref().map(|until| (until, weight)));
    }

    /// Sort both lists; from then on a weight is that of all up to it.
    fn settle(&mut self) {
        for list in [&mut self.starts, &mut self.ends] {
            list.sort();
            let mut sum = 0;
            for (_, weight) in list {
                sum += *weight;
                *weight = sum;
            }
        }
    }

    fn at(&self, version: &Version) -> usize {
        let up_to = |list: &[(&Version, usize)]| {
            let count = list.partition_point(|(end, _)| *end <= version);
            count.checked_sub(1).map_or(0, |last| list[last].1)
        };
        up_to(&self.starts) - up_to(&self.ends)
    }
}

/// An edit of the plugin itself and one for each dependent that makes some claims.
fn resolution(own: Option<Edit>, claims: Vec<&Claim>, edit: impl Fn(String) -> Edit) -> Resolution {
    let count: usize = claims.iter().map(|claim| claim.by.len()).sum();
    let names: BTreeSet<&Word> = claims.iter().flat_map(|claim| claim.by.iter().take(EDITS)).collect();
    let edits =
        own.into_iter().chain(names.into_iter().take(EDITS).map(|name| edit(name.to_string()))).collect();
    Resolution { edits, others: count > EDITS }
}

/// The versions next to `version` that are in the same ranges: its release and others, or, where it
/// is a pre-release, pre-releases of the same version.
fn around<'a>(version: &Version, ranges: impl Iterator<Item = &'a Range>) -> Versions {
    let mut from = first((0, 0, 0));
    let mut until: Option<&Version> = None;
    for range in ranges {
        from = from.max(range.from.clone());
        until = [until, range.until.as_ref()].into_iter().flatten().min();
    }
    if !version.pre.is_empty() {
        let low = from.max(first(triple(version)));
        let end = release(triple(version));
        let high = until.map_or(&end, |until| until.min(&end));
        return match next(&low) < *high {
            true => Versions::In(format!(">={low}, <{high}")),
            false => Versions::One(low.to_string()),
        };
    }
    let low = release(triple(&from));
    // Which releases are below an end does not depend on its pre-release.
    match until.map(|until| release(triple(until))) {
        None if low == Version::new(0, 0, 0) => Versions::Any,
        None => Versions::In(format!(">={low}")),
        Some(high) if triple(&next(&low)) == triple(&high) => Versions::One(low.to_string()),
        Some(high) if low == Version::new(0, 0, 0) => Versions::In(format!("<{high}")),
        Some(high) => Versions::In(format!(">={low}, <{high}")),
    }
}
