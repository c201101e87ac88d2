//! How many calls may be under way at once, in all and of one namespace. Others wait for a place.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::index::lock;

/// Calls that may be under way at once: each has a connection and a task.
pub const AT_ONCE: usize = 64;
/// How many of them may be of one namespace: Services that accept and never answer keep only those of
/// their own namespace waiting. Fewer would hold up a namespace whose plugins all come up together.
pub const OF_A_NAMESPACE: usize = AT_ONCE / 4;

/// The places for calls.
pub struct Places {
    all: Arc<Semaphore>,
    /// Those of each namespace in which somebody has a place or waits for one.
    parts: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _part: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), parts: Mutex::default() }
    }

    /// Whether a call of the namespace has to wait.
    pub fn is_full(&self, namespace: &str) -> bool {
        self.all.available_permits() == 0 || self.part(namespace).available_permits() == 0
    }

    /// Wait for a place: first for one of the namespace, so that who waits for those takes up none of the
    /// others, then for one of all. Who came first goes first.
    pub async fn take(&self, namespace: &str) -> Place {
        let part = self.part(namespace);
        let never = "nobody closes it";
        let of_part = part.acquire_owned().await.expect(never);
        let of_all = self.all.clone().acquire_owned().await.expect(never);
        Place { _part: of_part, _all: of_all }
    }

    /// The places of a namespace. Those of namespaces in which there is no call are forgotten.
    fn part(&self, namespace: &str) -> Arc<Semaphore> {
        let mut parts = lock(&self.parts);
        parts.retain(|_, part| part.strong_count() > 0);
        if let Some(part) = parts.get(namespace).and_then(Weak::upgrade) {
            return part;
        }
        let part = Arc::new(Semaphore::new(OF_A_NAMESPACE));
        parts.insert(namespace.to_owned(), Arc::downgrade(&part));
        part
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn take_all(places: &Places, namespace: &str) -> Vec<Place> {
        std::iter::from_fn(|| places.take(namespace).now_or_never()).collect()
    }

    #[test]
    fn a_namespace_has_a_part_of_the_places_and_all_have_no_more_than_there_are() {
        let places = Places::new();
        let mut noisy = take_all(&places, "noisy");
        assert_eq!(noisy.len(), OF_A_NAMESPACE);
        assert!(places.is_full("noisy") && !places.is_full("shop"));
        let others: Vec<_> =
            ["a", "b", "c", "d"].map(|it| take_all(&places, it)).into_iter().flatten().collect();
        assert_eq!(noisy.len() + others.len(), AT_ONCE);
        assert!(places.is_full("shop") && places.take("shop").now_or_never().is_none());
        noisy.pop();
        assert_eq!(take_all(&places, "shop").len(), 1);
    }

    #[test]
    fn who_waits_in_a_namespace_takes_no_place_of_others_and_goes_in_turn() {
        let places = Places::new();
        let mut noisy = take_all(&places, "noisy");
        let mut waiting: Vec<_> = (0..AT_ONCE).map(|_| Box::pin(places.take("noisy"))).collect();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        assert_eq!(take_all(&places, "shop").len(), OF_A_NAMESPACE);
        noisy.pop();
        let got: Vec<_> = waiting.iter_mut().map(|it| it.now_or_never()).collect();
        assert!(got[0].is_some() && got[1..].iter().all(Option::is_none));
        drop((noisy, waiting, got));
        assert!(!places.is_full("noisy"));
        assert!(lock(&places.parts).values().all(|part| part.strong_count() == 0), "nothing is kept");
    }
}
