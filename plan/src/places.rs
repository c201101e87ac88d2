//! How many plugins may be loaded in a namespace, and who is one too many. Owns the limit. Who holds
//! a place follows from what is there now: a plugin of which something is there keeps its place, and
//! places that are left go by age.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use forward_crds::Word;
use k8s_openapi::jiff::Timestamp;

/// Older first, then by name. What no server has seen yet is the youngest.
type Key = (bool, Option<Timestamp>, String);

/// What a plugin has to do with places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Something of it is there: it holds a place.
    Loaded,
    /// Nothing of it is there, and it would take a place.
    Wanted { created: Option<Timestamp> },
}

/// A plugin that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus {
    pub limit: usize,
    /// Its number among all, from one: those that are loaded come first, then the oldest.
    pub rank: usize,
}

/// The places of a namespace.
#[derive(Default)]
pub struct Places {
    limit: Option<usize>,
    claims: BTreeMap<Word, Claim>,
    loaded: usize,
    wanted: BTreeSet<Key>,
    surplus: BTreeMap<String, Surplus>,
    /// Whether something changed since it was settled: most events have nothing to do with places.
    unsettled: bool,
}

impl Places {
    /// What there is to say of a plugin for which there is no place.
    pub fn surplus(&self, name: &str) -> Option<Surplus> {
        self.surplus.get(name).copied()
    }

    /// What there would be to say of a plugin with this claim.
    pub fn foresee(&self, name: &str, claim: Claim) -> Option<Surplus> {
        let (limit, Claim::Wanted { created }) = (self.limit?, claim) else { return None };
        let before = self.wanted.range(..key(name, created)).filter(|(_, _, other)| other != name).count();
        let rank = self.loaded + before + 1;
        (rank > limit).then_some(Surplus { limit, rank })
    }

    /// Change the limit. What follows from it is settled by [`Places::settle`].
    pub fn set_limit(&mut self, limit: Option<usize>) {
        self.unsettled |= self.limit != limit;
        self.limit = limit;
    }

    /// Change what a plugin has to do with places. What follows is settled by [`Places::settle`].
    pub fn set(&mut self, name: &str, claim: Option<Claim>) {
        if self.claims.get(name).copied() == claim {
            return;
        }
        self.unsettled = true;
        match self.claims.remove(name) {
            Some(Claim::Loaded) => self.loaded -= 1,
            Some(Claim::Wanted { created }) => {
                self.wanted.remove(&key(name, created));
            }
            None => {}
        }
        match claim {
            Some(Claim::Loaded) => self.loaded += 1,
            Some(Claim::Wanted { created }) => {
                self.wanted.insert(key(name, created));
            }
            None => {}
        }
        self.claims.extend(claim.map(|claim| (name.into(), claim)));
    }

    /// Number those for whom there is no place. The answer is for whom that is something else than
    /// before. Where there are places for all, or nothing changed, that costs nothing.
    pub fn settle(&mut self) -> BTreeSet<String> {
        if !mem::take(&mut self.unsettled) {
            return BTreeSet::new();
        }
        let mut surplus = BTreeMap::new();
        if let Some(limit) = self.limit.filter(|limit| self.loaded + self.wanted.len() > *limit) {
            let ranks = self.wanted.iter().zip(self.loaded + 1..);
            let beyond = ranks.filter(|(_, rank)| *rank > limit);
            surplus.extend(beyond.map(|((_, _, name), rank)| (name.clone(), Surplus { limit, rank })));
        }
        let before = mem::replace(&mut self.surplus, surplus);
        let names: BTreeSet<String> = before.keys().chain(self.surplus.keys()).cloned().collect();
        names.into_iter().filter(|name| before.get(name) != self.surplus.get(name)).collect()
    }
}

fn key(name: &str, created: Option<Timestamp>) -> Key {
    (created.is_none(), created, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(second: i64) -> Option<Claim> {
        Some(Claim::Wanted { created: Timestamp::from_second(second).ok() })
    }

    fn ranks(places: &Places) -> Vec<(&str, usize)> {
        places.surplus.iter().map(|(name, surplus)| (name.as_str(), surplus.rank)).collect()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// For whom it changes something that one plugin claims something else.
    fn set(places: &mut Places, name: &str, claim: Option<Claim>) -> BTreeSet<String> {
        places.set(name, claim);
        places.settle()
    }

    fn three() -> Places {
        let mut places = Places::default();
        places.set_limit(Some(1));
        places.set("young", wanted(3));
        places.set("old", wanted(1));
        places.set("middle", wanted(2));
        places.settle();
        places
    }

    #[test]
    fn places_go_by_age_and_the_next_is_freed() {
        let mut places = three();
        assert_eq!(ranks(&places), [("middle", 2), ("young", 3)]);
        // That the first comes up changes nothing for the others.
        assert_eq!(set(&mut places, "old", Some(Claim::Loaded)), names(&[]));
        assert_eq!(set(&mut places, "old", None), names(&["middle", "young"]));
        assert_eq!(ranks(&places), [("young", 2)]);
    }

    #[test]
    fn what_is_loaded_keeps_its_place() {
        let mut places = three();
        places.set_limit(None);
        places.set("young", Some(Claim::Loaded));
        places.set("middle", Some(Claim::Loaded));
        places.settle();
        places.set_limit(Some(1));
        assert_eq!(places.settle(), names(&["old"]), "it is one too many, and none of those");
        assert_eq!(ranks(&places), [("old", 3)]);
        assert_eq!(set(&mut places, "young", None), names(&["old"]));
        assert_eq!(ranks(&places), [("old", 2)], "two were loaded where one may be");
        assert_eq!(set(&mut places, "middle", None), names(&["old"]));
        assert!(ranks(&places).is_empty());
    }

    #[test]
    fn plugins_of_one_age_go_by_name() {
        let mut places = Places::default();
        places.set_limit(Some(1));
        for name in ["b", "c", "a"] {
            places.set(name, wanted(1));
        }
        places.settle();
        assert_eq!(ranks(&places), [("b", 2), ("c", 3)]);
    }
}
