//! One aggregate of one group, while its events pass by. Pure.

use std::collections::HashSet;

use serde_json::Value;

use super::{Aggregate, Function};
use crate::event::{Event, plain_float};

#[derive(Debug)]
pub enum Tally {
    Count(u64),
    Distinct(HashSet<String>),
    Sum(Sum),
    Avg(Sum),
    Extreme { best: Option<f64>, pick: fn(f64, f64) -> f64 },
    Percentile { share: f64, numbers: Vec<f64> },
}

/// A sum that does not lose what each addition rounds off (Neumaier's).
#[derive(Debug, Default)]
pub struct Sum {
    total: f64,
    lost: f64,
    count: u64,
}

impl Tally {
    pub fn new(function: Function) -> Self {
        match function {
            Function::Count => Self::Count(0),
            Function::Distinct => Self::Distinct(HashSet::new()),
            Function::Sum => Self::Sum(Sum::default()),
            Function::Avg => Self::Avg(Sum::default()),
            Function::Min => Self::Extreme { best: None, pick: f64::min },
            Function::Max => Self::Extreme { best: None, pick: f64::max },
            Function::Percentile(share) => Self::Percentile { share, numbers: Vec::new() },
        }
    }

    pub fn add(&mut self, aggregate: &Aggregate, event: &Event) {
        let field = aggregate.field.as_ref();
        let number = || field.and_then(|field| event.number(field));
        match self {
            Self::Count(count) => {
                *count += u64::from(field.is_none_or(|field| event.text(field).is_some()));
            }
            Self::Distinct(texts) => texts.extend(field.and_then(|field| event.text(field))),
            Self::Sum(sum) | Self::Avg(sum) => number().into_iter().for_each(|number| sum.add(number)),
            Self::Extreme { best, pick } => {
                *best = number().map(|number| best.map_or(number, |best| pick(best, number))).or(*best);
            }
            Self::Percentile { numbers, .. } => numbers.extend(number()),
        }
    }

    /// The result; `null` where there was no number.
    pub fn finish(self) -> Value {
        let float = match self {
            Self::Count(count) => return count.into(),
            Self::Distinct(texts) => return texts.len().into(),
            Self::Sum(sum) => (sum.count > 0).then_some(sum.total + sum.lost),
            Self::Avg(sum) => (sum.count > 0).then(|| (sum.total + sum.lost) / sum.count as f64),
            Self::Extreme { best, .. } => best,
            Self::Percentile { share, numbers } => percentile(numbers, share),
        };
        float.and_then(plain_float).map_or(Value::Null, Value::Number)
    }
}

impl Sum {
    fn add(&mut self, number: f64) {
        let total = self.total + number;
        self.lost += if self.total.abs() >= number.abs() {
            (self.total - total) + number
        } else {
            (number - total) + self.total
        };
        self.total = total;
        self.count += 1;
    }
}

/// See [`Function::Percentile`].
fn percentile(mut numbers: Vec<f64>, share: f64) -> Option<f64> {
    let last = numbers.len().checked_sub(1)?;
    numbers.sort_by(f64::total_cmp);
    let place = share * last as f64;
    let (below, above) = (numbers[place.floor() as usize], numbers[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_interpolated() {
        let numbers = vec![40.0, 10.0, 20.0, 30.0];
        for (share, expected) in [(0.0, 10.0), (0.5, 25.0), (0.9, 37.0), (1.0, 40.0)] {
            assert_eq!(percentile(numbers.clone(), share), Some(expected), "{share}");
        }
        assert_eq!(percentile(vec![], 0.5), None);
    }

    #[test]
    fn sums_keep_what_rounding_loses() {
        let mut sum = Sum::default();
        for number in [1e16, 1.0, -1e16] {
            sum.add(number);
        }
        assert_eq!(Tally::Sum(sum).finish(), 1);
    }

    proptest! {
        #[test]
        fn a_percentile_lies_between_its_neighbours(
            mut numbers in proptest::collection::vec(-1e9..1e9f64, 1..50),
            share in 0.0..=1.0,
        ) {
            let found = percentile(numbers.clone(), share).unwrap();
            numbers.sort_by(f64::total_cmp);
            let below = numbers.iter().filter(|number| **number < found).count() as f64;
            let not_above = numbers.iter().filter(|number| **number <= found).count() as f64;
            let place = share * (numbers.len() - 1) as f64;
            prop_assert!(below <= place + 1.0 && not_above >= place.floor(), "{} {} {}", below, place, not_above);
        }
    }
}
