//! How long to wait before a call is made again.

use std::time::Duration;

/// Before the second try, in milliseconds.
const FIRST: u64 = 200;
/// At most, in milliseconds: so long an order waits on when the plugin it waits for is back.
const LONGEST: u64 = 30_000;

/// The pause after so many tries that came to nothing: twice as long after each, up to 30 s.
/// `chance`, from 0 to 1, makes it shorter by up to a half, so that orders which failed together do
/// not come back together.
pub fn pause(tries: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST);
    let shorter = Duration::from_millis(doubled).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
    // The database counts no shorter times.
    Duration::from_micros(u64::try_from(shorter.as_micros()).unwrap_or(LONGEST * 1_000))
}

/// A number from 0 to 1.
pub fn chance() -> f64 {
    let [first, second, ..] = uuid::Uuid::new_v4().into_bytes();
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses = [0, 1, 2, 3, 8, 9, 40, u32::MAX].map(|tries| pause(tries, 0.0).as_millis());
        assert_eq!(pauses, [200, 200, 400, 800, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn chance_takes_up_to_a_half() {
        assert_eq!(pause(1, 1.0).as_millis(), 100);
        assert!((0..100).map(|_| chance()).all(|chance| (0.0..=1.0).contains(&chance)));
    }
}
