//! Who may be on the way up at the same time. Owns the limit of a namespace; what is granted
//! follows from who is on the way and who is free to go, and from nothing that happened before.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Higher priority first, then name.
type Key = (Reverse<i32>, String);

/// What a plugin has to do with slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Its current spec was applied and is not rolled out: it holds a slot.
    Climbing,
    /// It is free to go and would take a slot.
    Free { priority: i32 },
}

/// The slots of a namespace.
pub struct Slots {
    limit: usize,
    claims: BTreeMap<String, Claim>,
    climbing: usize,
    /// The first of those that are free to go, as many as there are slots left.
    granted: BTreeSet<Key>,
    waiting: BTreeSet<Key>,
}

impl Slots {
    pub fn new(limit: usize) -> Self {
        let (granted, waiting) = (BTreeSet::new(), BTreeSet::new());
        Self { limit, claims: BTreeMap::new(), climbing: 0, granted, waiting }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a plugin that is free may go now.
    pub fn is_granted(&self, name: &str) -> bool {
        match self.claims.get(name) {
            Some(Claim::Free { priority }) => self.granted.contains(&(Reverse(*priority), name.to_owned())),
            _ => false,
        }
    }

    /// Change the limit, which everybody who waits is told. What follows from it is settled by
    /// [`Slots::settle`].
    pub fn set_limit(&mut self, limit: usize, touched: &mut BTreeSet<String>) {
        self.limit = limit;
        touched.extend(self.waiting.iter().map(|(_, name)| name.clone()));
    }

    /// Change what a plugin has to do with slots. What follows is settled by [`Slots::settle`].
    pub fn set(&mut self, name: &str, claim: Option<Claim>) {
        if self.claims.get(name).copied() == claim {
            return;
        }
        match self.claims.remove(name) {
            Some(Claim::Climbing) => self.climbing -= 1,
            Some(Claim::Free { priority }) => {
                let key = (Reverse(priority), name.to_owned());
                if !self.granted.remove(&key) {
                    self.waiting.remove(&key);
                }
            }
            None => {}
        }
        match claim {
            Some(Claim::Climbing) => self.climbing += 1,
            Some(Claim::Free { priority }) => {
                self.waiting.insert((Reverse(priority), name.to_owned()));
            }
            None => return,
        }
        self.claims.extend(claim.map(|claim| (name.to_owned(), claim)));
    }

    /// Grant the slots that are left to the first of those that are free; `touched` gets the names
    /// of those for whom that changes something.
    pub fn settle(&mut self, touched: &mut BTreeSet<String>) {
        let left = self.limit.saturating_sub(self.climbing);
        while self.granted.len() < left
            && let Some(key) = self.waiting.pop_first()
        {
            touched.insert(key.1.clone());
            self.granted.insert(key);
        }
        while let (Some(last), Some(first)) = (self.granted.last(), self.waiting.first())
            && first < last
        {
            let key = self.waiting.pop_first().expect("it was just seen");
            touched.insert(key.1.clone());
            self.granted.insert(key);
            self.withdraw(touched);
        }
        while self.granted.len() > left {
            self.withdraw(touched);
        }
    }

    fn withdraw(&mut self, touched: &mut BTreeSet<String>) {
        if let Some(key) = self.granted.pop_last() {
            touched.insert(key.1.clone());
            self.waiting.insert(key);
        }
    }
}
