//! Whether this replica trusts itself: where pods of several plugins do not answer it, and more than
//! half of all that it asks, it is more likely that the fault is here, or in the network around.

use std::sync::{Arc, Mutex, PoisonError};

use forward_plan::{Tallies, Tally};
use tokio::sync::watch;

/// What all that ask share.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tallies: Mutex<Tallies>,
    mistrusted: watch::Sender<bool>,
}

/// One plugin's part; it counts until it is dropped.
#[derive(Debug)]
pub struct Report {
    trust: Trust,
    tally: Tally,
}

impl Trust {
    pub fn new() -> Self {
        let (mistrusted, _) = watch::channel(false);
        Self(Arc::new(Inner { tallies: Mutex::default(), mistrusted }))
    }

    /// A part for one more plugin, of which nothing is known yet.
    pub fn report(&self) -> Report {
        Report { trust: self.clone(), tally: Tally::default() }
    }

    /// Whether this replica mistrusts itself, and when that changes.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.mistrusted.subscribe()
    }

    fn change(&self, before: Tally, after: Tally) {
        let mut tallies = self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.change(before, after);
        let mistrusted = tallies.mistrusts();
        // Told under the lock, so that the last word is that of the last change.
        let changed =
            self.0.mistrusted.send_if_modified(|told| std::mem::replace(told, mistrusted) != mistrusted);
        drop(tallies);
        match (changed, mistrusted) {
            (true, true) => {
                tracing::warn!(
                    "pods of several plugins do not answer: the fault may be here, all get requests"
                );
            }
            (true, false) => tracing::info!("pods answer again: those that do not are taken out again"),
            (false, _) => {}
        }
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// This is how many pods are asked now, and do not answer.
    pub fn set(&mut self, tally: Tally) {
        if tally != self.tally {
            self.trust.change(std::mem::replace(&mut self.tally, tally), tally);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.set(Tally::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_those_that_report_and_forgets_those_that_go() {
        let trust = Trust::new();
        let watch = trust.watch();
        let silent = Tally { asked: 2, unanswered: 2 };
        let (mut one, mut other) = (trust.report(), trust.report());
        one.set(silent);
        assert!(!*watch.borrow());
        other.set(silent);
        assert!(*watch.borrow());
        drop(other);
        assert!(!*watch.borrow());
        let mut other = trust.report();
        other.set(silent);
        one.set(Tally { asked: 2, unanswered: 0 });
        assert!(!*watch.borrow());
    }
}
