//! What callers are known by: the keys of files, and the keys of those who issue tokens.
//!
//! Owns where they come from and what is known of them at a moment. Refuses to own requests: who
//! asks is decided where they are. Its invariants: what was good once counts until something better
//! is there, each key to its own end; and where there is nothing, nobody is known.

pub mod document;
pub mod fetch;
pub mod issuer;
pub mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use self::{document::KeySet, issuer::Issuer};

/// Somebody who is known.
#[derive(Debug, PartialEq)]
pub struct Caller {
    pub subject: HeaderValue,
    pub permissions: BTreeSet<String>,
    /// The permissions with spaces between.
    pub permitted: HeaderValue,
}

impl Caller {
    /// `None` where the subject cannot be told in a header.
    pub fn new(subject: &str, permissions: BTreeSet<String>) -> Option<Self> {
        let is_plain = (1..=MOST_SUBJECT).contains(&subject.len()) && subject.bytes().all(is_plain);
        let subject =
            HeaderValue::from_str(subject).ok().filter(|_| is_plain && subject.trim() == subject)?;
        let list = permissions.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        Some(Self { subject, permitted: HeaderValue::from_str(&list).ok()?, permissions })
    }
}

/// How many bytes a subject may have.
const MOST_SUBJECT: usize = 512;

/// Of visible ASCII: other bytes have more than one reading in a header.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// A set of keys, as chains hold it. `None` where the gateway does not have it.
pub type HeldKeys = ArcSwapOption<KeySet>;

/// What all chains know callers by. Those hold what they need, so that a request asks nobody; here it
/// is filled.
#[derive(Debug, Default)]
pub struct Callers {
    keys: Mutex<BTreeMap<String, Arc<HeldKeys>>>,
    issuers: Mutex<BTreeMap<String, Arc<Issuer>>>,
}

impl Callers {
    /// The set of keys of this name, now and later.
    pub fn keys(&self, name: &str) -> Arc<HeldKeys> {
        lock(&self.keys).entry(name.to_owned()).or_default().clone()
    }

    /// The keys at an address, now and later.
    pub fn issuer(&self, url: &str) -> Arc<Issuer> {
        let mut issuers = lock(&self.issuers);
        issuers.entry(url.to_owned()).or_insert_with(|| Arc::new(Issuer::new(url))).clone()
    }

    /// These sets of keys are there, and no others.
    pub fn fill(&self, sets: &BTreeMap<String, Arc<KeySet>>) {
        let mut held = lock(&self.keys);
        for (name, set) in sets {
            held.entry(name.clone()).or_default().store(Some(set.clone()));
        }
        held.retain(|name, slot| {
            if !sets.contains_key(name) {
                slot.store(None);
            }
            sets.contains_key(name) || Arc::strong_count(slot) > 1
        });
    }

    /// The issuers whose keys some chain needs. What is known of others is forgotten.
    fn issuers(&self) -> Vec<Arc<Issuer>> {
        let mut issuers = lock(&self.issuers);
        issuers.retain(|_, issuer| Arc::strong_count(issuer) > 1);
        issuers.values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_see_the_keys_that_come_later_and_lose_those_that_go() {
        let callers = Callers::default();
        let held = callers.keys("partners");
        assert!(held.load().is_none());
        let set = Arc::new(KeySet::default());
        callers.fill(&BTreeMap::from([("partners".to_owned(), set.clone())]));
        assert!(held.load().is_some() && callers.keys("partners").load().is_some());
        callers.fill(&BTreeMap::new());
        assert!(held.load().is_none());
        callers.fill(&BTreeMap::from([("partners".to_owned(), set)]));
        assert!(held.load().is_some(), "it is the same place");
    }

    #[test]
    fn forgets_what_no_chain_needs() {
        let callers = Callers::default();
        drop(callers.keys("partners"));
        let issuer = callers.issuer("https://a/");
        drop(callers.issuer("https://b/"));
        callers.fill(&BTreeMap::new());
        assert!(lock(&callers.keys).is_empty());
        assert_eq!(callers.issuers().len(), 1);
        drop(issuer);
        // What was handed out above counts while it is held.
        assert!(callers.issuers().is_empty());
    }

    #[test]
    fn tells_of_a_subject_only_what_has_one_reading() {
        let is = |subject: &str| Caller::new(subject, BTreeSet::new()).is_some();
        assert!(is("acme") && is("auth0|5f7c") && is("Ada Lovelace"));
        for odd in ["", " ", "a ", "a\r\nX-B: c", "ä", "a\0", "\t", &"a".repeat(513)] {
            assert!(!is(odd), "{odd:?}");
        }
    }
}
