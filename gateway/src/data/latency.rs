//! Times in buckets that are fine enough to read percentiles from: four to each doubling, so that
//! what is read is wrong by an eighth at most, between 65 µs and 34 s. Below, by 8 µs; what takes
//! longer is told as 34 s.

/// How many buckets there are.
pub const BUCKETS: usize = 80;

/// What is told apart, in powers of two: 16.384 µs.
const UNIT: u32 = 14;

/// The bucket of a time.
pub fn bucket(nanos: u64) -> usize {
    let units = nanos >> UNIT;
    if units < 4 {
        return usize::try_from(units).unwrap_or_default();
    }
    let doubling = units.ilog2();
    let quarter = (units >> (doubling - 2)) & 3;
    let bucket = u64::from(doubling - 1) * 4 + quarter;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The middle of a bucket, in seconds.
fn middle(bucket: usize) -> f64 {
    let (low, high) = (low(bucket), low(bucket + 1));
    (low + high) / 2.0
}

/// The shortest time of a bucket, in seconds.
fn low(bucket: usize) -> f64 {
    let quarters = bucket as f64;
    let units = match bucket {
        0..4 => quarters,
        _ => (4.0 + (bucket % 4) as f64) * f64::from(1_u32 << (bucket / 4 - 1)),
    };
    units * f64::from(1_u32 << UNIT) / 1e9
}

/// The time that so many in a hundred requests did not exceed, in seconds; `None` without requests.
pub fn percentile(counts: &[u64; BUCKETS], percent: u64) -> Option<f64> {
    let total = counts.iter().sum::<u64>();
    // The rank of the one that is looked for, from 1.
    let rank = (total * percent).div_ceil(100).max(1);
    let mut passed = 0;
    let found = counts.iter().position(|count| {
        passed += count;
        passed >= rank
    });
    found.filter(|_| total > 0).map(middle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_are_where_the_page_says() {
        assert_eq!((bucket(0), bucket(16_383), bucket(16_384)), (0, 0, 1));
        assert_eq!((bucket(65_535), bucket(65_536)), (3, 4));
        assert_eq!((bucket(34_359_738_367), bucket(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
        assert!((low(BUCKETS) - 34.359_738_368).abs() < 1e-9);
    }

    #[test]
    fn says_nothing_of_nothing() {
        assert_eq!(percentile(&[0; BUCKETS], 50), None);
    }

    proptest! {
        #[test]
        fn a_bucket_is_between_its_bounds(nanos in 0..34_359_738_368_u64) {
            let seconds = nanos as f64 / 1e9;
            let it = bucket(nanos);
            prop_assert!(low(it) <= seconds && seconds < low(it + 1), "{nanos} in {it}");
            prop_assert!(it == 0 || low(it - 1) < low(it));
        }

        /// Against the exact percentile of the same times.
        #[test]
        fn a_percentile_is_wrong_by_an_eighth_at_most(
            times in prop::collection::vec(65_536..34_359_738_368_u64, 1..200),
            percent in 1..=99_u64,
        ) {
            let mut counts = [0; BUCKETS];
            times.iter().for_each(|nanos| counts[bucket(*nanos)] += 1);
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let rank = (times.len() as u64 * percent).div_ceil(100).max(1);
            let exact = sorted[usize::try_from(rank).unwrap() - 1] as f64 / 1e9;
            let told = percentile(&counts, percent).unwrap();
            prop_assert!((told - exact).abs() <= exact / 8.0, "{told} for {exact}");
        }
    }
}
