//! How many requests may be under way at a time, so that one that is slow fills no more than its own
//! compartment. Shared by all threads, without a lock.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A count of requests that are under way.
#[derive(Debug, Default)]
pub struct Bulkhead {
    underway: AtomicUsize,
}

/// A request's place, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Bulkhead>);

impl Bulkhead {
    /// Take a place, if fewer than `most` are taken.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        // Added first and taken back where that was too many: those who come at the same time may
        // then all be refused, but never too many let in.
        let place = Place(self.clone());
        (self.underway.fetch_add(1, Relaxed) < most).then_some(place)
    }

    /// How many places are taken.
    pub fn underway(&self) -> usize {
        self.underway.load(Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_so_many_places_and_gives_them_again() {
        let bulkhead = Arc::new(Bulkhead::default());
        let mut places = (0..5).filter_map(|_| bulkhead.enter(3)).collect::<Vec<_>>();
        assert_eq!((places.len(), bulkhead.underway()), (3, 3));
        places.pop();
        assert!(bulkhead.enter(3).is_some());
        drop(places);
        assert_eq!(bulkhead.underway(), 0);
    }

    #[test]
    fn never_has_more_under_way_over_threads() {
        let bulkhead = Arc::new(Bulkhead::default());
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Some(place) = bulkhead.enter(2) {
                            assert!(inside.fetch_add(1, Relaxed) < 2);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Relaxed);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert_eq!(bulkhead.underway(), 0);
    }
}
