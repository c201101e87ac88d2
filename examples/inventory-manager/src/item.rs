//! What can be in stock: an item, and what a valid one is.

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// The highest price, in minor units. With the bounds of quantities it keeps every sum of money in
/// an `i64`.
const MOST_PRICE: i64 = 1_000_000_000;
/// The most units of one item.
const MOST_UNITS: i64 = 1_000_000_000;
/// The longest name, in characters.
const LONGEST_NAME: usize = 200;
/// The longest SKU, in bytes.
const LONGEST_SKU: usize = 64;

/// What an item is called by: 1 to 64 of `A-Z a-z 0-9 _ . -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(String);

/// An item as somebody wants it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub sku: Sku,
    pub name: String,
    pub price: i64,
    pub currency: String,
    pub on_hand: i64,
}

/// An item as it is. Units in reservations whose time is over count as not reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stock {
    pub sku: Sku,
    pub name: String,
    pub price: i64,
    pub currency: String,
    pub on_hand: i64,
    pub reserved: i64,
    pub available: i64,
    /// Units that are available as soon as reservations whose time is over have been ended.
    #[serde(skip)]
    pub overdue: i64,
}

/// The body that puts an item.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutItem {
    name: String,
    price: i64,
    currency: String,
    on_hand: i64,
}

impl Sku {
    /// Told to whoever sent something else.
    pub const RULE: &str = "must be 1 to 64 characters, letters, digits, '_', '.' and '-'";

    pub fn parse(text: &str) -> Option<Self> {
        is_identifier(text, LONGEST_SKU).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PutItem {
    /// The item, if all of it is as it should be; `currency` is the one that every price is in.
    pub fn check(self, sku: Sku, currency: &str) -> Result<Item, Faults> {
        let Self { name, price, currency: written, on_hand } = self;
        let mut faults = Faults::default();
        if written != currency {
            faults.add("/currency", format!("must be {currency}"));
        }
        check_good(&mut faults, "", &name, price, on_hand);
        faults.none_or(Item { sku, name, price, currency: written, on_hand })
    }
}

/// Checks what an item has besides its SKU, where `at` is the pointer of the item.
pub fn check_good(faults: &mut Faults, at: &str, name: &str, price: i64, on_hand: i64) {
    let length = name.chars().count();
    if name.trim().is_empty() || length > LONGEST_NAME || name.contains(char::is_control) {
        let rule = format!("must be 1 to {LONGEST_NAME} characters, none of them a control character");
        faults.add(format!("{at}/name"), rule);
    }
    faults.bound(format!("{at}/price"), price, 0, MOST_PRICE);
    faults.bound(format!("{at}/on_hand"), on_hand, 0, MOST_UNITS);
}

/// Whether a text is what names have here: not empty, not too long, no characters that mean
/// anything in a URL.
pub fn is_identifier(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_plain_and_short() {
        for sku in ["a", "MUG-0.3l_blue", &"x".repeat(64)] {
            assert_eq!(Sku::parse(sku).unwrap().as_str(), sku);
        }
        for bad in ["", " ", "a/b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(Sku::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_everything_that_is_wrong_with_an_item() {
        let item =
            PutItem { name: "\t".to_owned(), price: -1, currency: "EUR".to_owned(), on_hand: i64::MAX };
        let faults = item.check(Sku::parse("mug").unwrap(), "USD").unwrap_err().to_string();
        let expected = "/currency: must be USD; \
            /name: must be 1 to 200 characters, none of them a control character; \
            /price: must be from 0 to 1000000000; /on_hand: must be from 0 to 1000000000";
        assert_eq!(faults, expected);
    }
}
