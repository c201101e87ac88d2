//! Ranges of versions: which versions a plugin accepts of another. Owns what a range means; reading
//! the text is left to the `semver` crate.
//!
//! The crate's own matching is not used: it says no to pre-releases to which the rules of npm, and
//! those of the crate itself for the same range written out in full, say yes (`=1.2, >=1.2.3-rc.1`
//! has 1.2.3-rc.2 in it). And two ranges can be intersected only where a range is more than a
//! predicate: here it is an interval, of which releases and the pre-releases of some versions count.

use std::{cmp::Ordering, collections::BTreeSet};

use internment::ArcIntern;
use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

/// A version without its pre-release.
pub(crate) type Triple = (u64, u64, u64);

/// A range that is in memory once: many plugins have the same.
pub type SharedRange = ArcIntern<Range>;

/// A range of versions, as a plugin accepts them of what it needs.
///
/// Invariant: unless the range is empty, `from` is the least version in it. That is why both ends
/// are moved past pre-releases that the range does not name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    pub(crate) from: Version,
    /// Not in the range; absent where it has no upper end.
    pub(crate) until: Option<Version>,
    /// The versions of which a pre-release is written in the range, so that theirs count.
    pub(crate) named: BTreeSet<Triple>,
}

impl Range {
    /// Read a range: comparators that must all hold, joined by commas. A version without an
    /// operator is a caret: `1.2` means the same major and at least that minor.
    pub fn parse(text: &str) -> Result<Self, semver::Error> {
        let comparators = VersionReq::parse(text)?.comparators;
        let mut range = Self { from: first((0, 0, 0)), until: None, named: BTreeSet::new() };
        for comparator in &comparators {
            let (from, until) = interval(comparator);
            range.from = range.from.max(from);
            range.until = match (range.until.take(), until) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if let (false, Some(minor), Some(patch)) =
                (comparator.pre.is_empty(), comparator.minor, comparator.patch)
            {
                range.named.insert((comparator.major, minor, patch));
            }
        }
        range.tighten();
        Ok(range)
    }

    /// Whether a version is in the range. A pre-release is only where a pre-release of the same
    /// version is written in the range; build metadata makes no difference.
    pub fn accepts(&self, version: &Version) -> bool {
        let counts = version.pre.is_empty() || self.named.contains(&triple(version));
        let is_below = |until: &Version| version.cmp_precedence(until) == Ordering::Less;
        counts
            && version.cmp_precedence(&self.from) != Ordering::Less
            && self.until.as_ref().is_none_or(is_below)
    }

    /// Whether no version is in the range.
    pub(crate) fn is_empty(&self) -> bool {
        self.until.as_ref().is_some_and(|until| *until <= self.from)
    }

    /// Whether a version is in both ranges.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let until = [&self.until, &other.until].into_iter().flatten().min().cloned();
        let named = self.named.intersection(&other.named).copied().collect();
        let mut both = Self { from: self.from.clone().max(other.from.clone()), until, named };
        both.tighten();
        !both.is_empty()
    }

    fn tighten(&mut self) {
        let from = triple(&self.from);
        if !self.named.contains(&from) {
            self.from.pre = Prerelease::EMPTY;
        }
        let named = &self.named;
        if let Some(until) = self.until.as_mut().filter(|until| !named.contains(&triple(until))) {
            *until = first(triple(until));
        }
    }
}

pub(crate) fn triple(version: &Version) -> Triple {
    (version.major, version.minor, version.patch)
}

pub(crate) fn release((major, minor, patch): Triple) -> Version {
    Version::new(major, minor, patch)
}

/// The least version of a triple: the first of its pre-releases.
pub(crate) fn first((major, minor, patch): Triple) -> Version {
    let pre = Prerelease::new("0").expect("a number is a pre-release");
    Version { major, minor, patch, pre, build: BuildMetadata::EMPTY }
}

/// The version that comes right after another: there is none between the two.
pub(crate) fn next(version: &Version) -> Version {
    let (major, minor, patch) = triple(version);
    if version.pre.is_empty() {
        return first((major, minor, up(patch)));
    }
    let pre = Prerelease::new(&format!("{}.0", version.pre)).expect("a pre-release and a number are one");
    Version { pre, ..release((major, minor, patch)) }
}

/// The next number. The API server takes none that has none.
fn up(number: u64) -> u64 {
    number.saturating_add(1)
}

/// The versions that a comparator stands for, leaving aside which pre-releases count: from the
/// first up to the second, which is not among them.
fn interval(comparator: &Comparator) -> (Version, Option<Version>) {
    let Comparator { op, major, minor, patch, pre } = comparator;
    let major = *major;
    let written = Version { pre: pre.clone(), ..release((major, minor.unwrap_or(0), patch.unwrap_or(0))) };
    let next_major = (up(major), 0, 0);
    let next_minor = |minor| (major, up(minor), 0);
    // What comes after everything that begins as the comparator does.
    let after = match (minor, patch) {
        (None, _) => first(next_major),
        (Some(minor), None) => first(next_minor(*minor)),
        (Some(_), Some(_)) => next(&written),
    };
    let partial = patch.is_none();
    let lowest = || first((0, 0, 0));
    // As npm has it, "at least 0.0.0" is no bound, not even for pre-releases of 0.0.0.
    let least = || if written == release((0, 0, 0)) { lowest() } else { written.clone() };
    match op {
        Op::Greater if partial => (release(triple(&after)), None),
        Op::Greater => (after, None),
        Op::GreaterEq => (least(), None),
        Op::Less if partial => (lowest(), Some(first(triple(&written)))),
        Op::Less => (lowest(), Some(written)),
        Op::LessEq => (lowest(), Some(after)),
        Op::Tilde => (least(), Some(first(minor.map_or(next_major, next_minor)))),
        Op::Caret => {
            let end = match (major, minor, patch) {
                (1.., _, _) | (0, None, _) => next_major,
                (0, Some(minor), None) | (0, Some(minor @ 1..), _) => next_minor(*minor),
                (0, Some(0), Some(patch)) => (0, 0, up(*patch)),
            };
            (least(), Some(first(end)))
        }
        Op::Exact if !partial => (written, Some(after)),
        // `=` and a part, a wildcard, and whatever the crate may add, which then counts as it is written.
        _ => (least(), Some(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        Range::parse(text).unwrap()
    }

    #[test]
    fn least_version_of_a_range_is_in_it() {
        for text in
            ["*", "0", "1.2", ">1.2.3", ">1.2", "<2", ">=1.0.0-rc.1, <1.0.0", ">1.0.0-rc.1", ">0.9, <=2"]
        {
            let range = range(text);
            assert!(!range.is_empty() && range.accepts(&range.from), "{text}: {range:?}");
        }
        for text in [">2, <1", ">1.0.0, <1.0.1", "<0", ">1.0.0-rc, <1.0.0-rc.0", "^1, ^2"] {
            assert!(range(text).is_empty(), "{text}: {:?}", range(text));
        }
    }

    #[test]
    fn nothing_lies_between_a_version_and_the_next() {
        for (version, expected) in
            [("1.2.3", "1.2.4-0"), ("1.2.3-rc", "1.2.3-rc.0"), ("1.0.0-0", "1.0.0-0.0")]
        {
            assert_eq!(next(&Version::parse(version).unwrap()), Version::parse(expected).unwrap());
        }
    }
}
