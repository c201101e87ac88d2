//! Adds up what test programs say of themselves.

use std::fmt;

/// How many there were of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Count {
    /// One more.
    pub fn add(&mut self, passed: bool) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }

    /// A line that a test program printed; only its summary counts.
    pub fn read(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else {
            return;
        };
        let number = |word: &str| {
            let (before, _) = summary.split_once(word)?;
            before.trim().rsplit(' ').next()?.parse::<u32>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.skipped += number(" ignored").unwrap_or(0);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_summaries_and_nothing_else() {
        let mut count = Count::default();
        count.read(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.1s",
        );
        count.read(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        );
        count.read("test a_test_of_99 passed ... ok");
        assert_eq!(count.to_string(), "15 passed, 2 failed, 1 skipped");
    }
}
