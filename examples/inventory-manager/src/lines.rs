//! What somebody wants of several items, and whether there is enough of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    faults::Faults,
    item::{Sku, Stock},
};

/// The most lines of one request.
const MOST_LINES: usize = 100;
/// The most units of one line.
const MOST_QUANTITY: i64 = 1_000_000;

/// A line as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    sku: String,
    quantity: i64,
}

/// So many units of an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    pub sku: Sku,
    pub quantity: i64,
}

/// Lines in the order of the request, so that an answer can name the place of each. There is at
/// least one, and no SKU is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

/// Whether there is enough of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Enough,
    /// Enough, once reservations whose time is over have been ended.
    Overdue,
    Short(Vec<Shortage>),
    /// The places of SKUs that are not in the inventory.
    Unknown(Vec<usize>),
}

/// A line of which there is too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The line's place in the request.
    pub index: usize,
    pub wanted: i64,
    pub available: i64,
}

impl Lines {
    pub fn check(wanted: Vec<Wanted>, faults: &mut Faults) -> Self {
        if wanted.is_empty() || wanted.len() > MOST_LINES {
            faults.add("/items", format!("must be 1 to {MOST_LINES} items"));
        }
        let mut seen = BTreeSet::new();
        let mut lines = Vec::with_capacity(wanted.len().min(MOST_LINES));
        for (index, Wanted { sku, quantity }) in wanted.into_iter().take(MOST_LINES).enumerate() {
            faults.bound(format!("/items/{index}/quantity"), quantity, 1, MOST_QUANTITY);
            let pointer = format!("/items/{index}/sku");
            match Sku::parse(&sku) {
                None => faults.add(pointer, Sku::RULE),
                Some(sku) if !seen.insert(sku.clone()) => faults.add(pointer, "is there twice"),
                Some(sku) => lines.push(Line { sku, quantity }),
            }
        }
        Self(lines)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Line> {
        self.0.iter()
    }

    pub fn skus(&self) -> Vec<&str> {
        self.0.iter().map(|line| line.sku.as_str()).collect()
    }

    pub fn quantities(&self) -> Vec<i64> {
        self.0.iter().map(|line| line.quantity).collect()
    }

    /// The lines in the order of their SKUs, as a reservation has them.
    pub fn sorted(&self) -> Vec<Line> {
        let mut lines = self.0.clone();
        lines.sort();
        lines
    }

    /// Compares what is wanted with what is there.
    pub fn weigh(&self, stock: &BTreeMap<Sku, Stock>) -> Verdict {
        let mut unknown = Vec::new();
        let mut short = Vec::new();
        let mut overdue = false;
        for (index, Line { sku, quantity }) in self.0.iter().enumerate() {
            match stock.get(sku) {
                None => unknown.push(index),
                Some(stock) if stock.available < *quantity => {
                    short.push(Shortage { index, wanted: *quantity, available: stock.available });
                }
                Some(stock) => overdue |= stock.available - stock.overdue < *quantity,
            }
        }
        match (unknown.is_empty(), short.is_empty(), overdue) {
            (false, ..) => Verdict::Unknown(unknown),
            (true, false, _) => Verdict::Short(short),
            (true, true, true) => Verdict::Overdue,
            (true, true, false) => Verdict::Enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(wanted: Value) -> Result<Lines, String> {
        let mut faults = Faults::default();
        let lines = Lines::check(serde_json::from_value(wanted).unwrap(), &mut faults);
        faults.none_or(lines).map_err(|faults| faults.to_string())
    }

    fn stock(entries: &[(&str, i64, i64)]) -> BTreeMap<Sku, Stock> {
        let entries = entries.iter().map(|(sku, available, overdue)| {
            let sku = Sku::parse(sku).unwrap();
            let (name, currency) = (String::new(), String::new());
            let (available, overdue) = (*available, *overdue);
            let stock = Stock {
                sku: sku.clone(),
                name,
                price: 1,
                currency,
                on_hand: available,
                reserved: 0,
                available,
                overdue,
            };
            (sku, stock)
        });
        entries.collect()
    }

    #[test]
    fn refuses_what_makes_no_sense_and_names_each_place() {
        let wanted = json!([
            {"sku": "a", "quantity": 0}, {"sku": "b c", "quantity": 1}, {"sku": "a", "quantity": 1},
        ]);
        let expected = [
            "/items/0/quantity: must be from 1 to 1000000",
            "/items/1/sku: must be 1 to 64 characters, letters, digits, '_', '.' and '-'",
            "/items/2/sku: is there twice",
        ];
        assert_eq!(check(wanted).unwrap_err(), expected.join("; "));
        assert_eq!(check(json!([])).unwrap_err(), "/items: must be 1 to 100 items");
        let many = vec![json!({"sku": "a", "quantity": 1}); 101];
        assert!(check(json!(many)).unwrap_err().starts_with("/items: must be 1 to 100 items"));
    }

    #[test]
    fn weighs_every_line() {
        let lines = check(json!([{"sku": "b", "quantity": 3}, {"sku": "a", "quantity": 2}])).unwrap();
        assert_eq!(lines.weigh(&stock(&[("a", 2, 0), ("b", 3, 0)])), Verdict::Enough);
        assert_eq!(lines.weigh(&stock(&[("a", 2, 0), ("b", 4, 2)])), Verdict::Overdue);
        let short = |index, wanted, available| Shortage { index, wanted, available };
        assert_eq!(
            lines.weigh(&stock(&[("a", 1, 1), ("b", 0, 0)])),
            Verdict::Short(vec![short(0, 3, 0), short(1, 2, 1)])
        );
        assert_eq!(lines.weigh(&stock(&[("b", 0, 0)])), Verdict::Unknown(vec![1]));
    }

    #[test]
    fn sorts_by_sku() {
        let lines = check(json!([{"sku": "b", "quantity": 1}, {"sku": "B", "quantity": 2}])).unwrap();
        assert_eq!(lines.sorted().iter().map(|line| line.quantity).collect::<Vec<_>>(), [2, 1]);
    }
}
