//! Where a stream begins. Pure.

use crate::storage::Extent;

/// The most events that a stream is given of what happened before it.
pub const MOST: u64 = 10_000;

/// Where a stream begins, and what is lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// It shows what comes after this position.
    pub after: u64,
    pub gap: Option<Gap>,
}

/// Events that a reader has not seen and will not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// As many as this; or fewer, where the storage has left out positions.
    Missing(u64),
    /// The reader's position is not one of this storage, which has lost its events since then.
    Unknown,
}

/// Decides where a stream begins whose reader has seen everything up to `seen`, or nothing yet.
pub fn begin(seen: Option<u64>, extent: Extent) -> Beginning {
    let Extent { base, oldest, newest } = extent;
    let earliest = oldest.saturating_sub(1).max(newest.saturating_sub(MOST));
    match seen {
        None => Beginning { after: newest, gap: None },
        Some(seen) if seen < base || seen > newest => Beginning { after: earliest, gap: Some(Gap::Unknown) },
        Some(seen) if seen < earliest => {
            Beginning { after: earliest, gap: Some(Gap::Missing(earliest - seen)) }
        }
        Some(seen) => Beginning { after: seen, gap: None },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXTENT: Extent = Extent { base: 100, oldest: 201, newest: 300 };

    #[test]
    fn a_new_reader_begins_now() {
        assert_eq!(begin(None, EXTENT), Beginning { after: 300, gap: None });
    }

    #[test]
    fn a_reader_that_comes_back_goes_on_where_it_was() {
        for seen in [200, 250, 300] {
            assert_eq!(begin(Some(seen), EXTENT), Beginning { after: seen, gap: None });
        }
    }

    #[test]
    fn what_was_forgotten_is_counted() {
        let gap = Some(Gap::Missing(50));
        assert_eq!(begin(Some(150), EXTENT), Beginning { after: 200, gap }, "151 to 200 are gone");
        let long = Extent { base: 0, oldest: 1, newest: MOST + 7 };
        assert_eq!(begin(Some(2), long), Beginning { after: 7, gap: Some(Gap::Missing(5)) });
    }

    #[test]
    fn a_position_of_another_storage_is_not_counted_with() {
        for seen in [99, 301] {
            assert_eq!(begin(Some(seen), EXTENT), Beginning { after: 200, gap: Some(Gap::Unknown) });
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_and_what_is_missing_is_all(base in 0u64..100, forgotten in 0u64..50_000, kept in 0u64..50_000, seen: u64) {
            let extent = Extent { base, oldest: base + forgotten + 1, newest: base + forgotten + kept };
            let seen = base + seen % (forgotten + kept + 1);
            let Beginning { after, gap } = begin(Some(seen), extent);
            prop_assert!(after + 1 >= extent.oldest && after <= extent.newest && extent.newest - after <= MOST);
            let missing = match gap { None => 0, Some(Gap::Missing(missing)) => missing, Some(Gap::Unknown) => unreachable!() };
            prop_assert_eq!(seen + missing, after);
        }
    }
}
