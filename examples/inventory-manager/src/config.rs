//! The configuration: as it is written, and as it is meant.

use std::{collections::BTreeSet, time::Duration};

use forward_sdk::duration;
use serde::Deserialize;

use crate::{
    faults::Faults,
    item::{Item, Sku, check_good},
    reservation,
};

/// As it is written in the manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    database_url: String,
    #[serde(default = "usd")]
    currency: String,
    #[serde(default = "reservation_ttl", deserialize_with = "duration::deserialize")]
    reservation_ttl: Duration,
    #[serde(default = "expiry_interval", deserialize_with = "duration::deserialize")]
    expiry_interval: Duration,
    #[serde(default)]
    items: Vec<Good>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    sku: String,
    name: String,
    price: i64,
    on_hand: i64,
}

/// As it is meant: everything is within its bounds.
pub struct Settings {
    pub database_url: String,
    /// What every price is in.
    pub currency: String,
    /// How long a reservation lasts when the request does not say.
    pub reservation_ttl: Duration,
    /// How often reservations whose time is over are looked for.
    pub expiry_interval: Duration,
    /// What is put in stock where there is no such SKU yet; no SKU is there twice.
    pub items: Vec<Item>,
}

fn usd() -> String {
    "USD".to_owned()
}

fn reservation_ttl() -> Duration {
    Duration::from_secs(15 * 60)
}

fn expiry_interval() -> Duration {
    Duration::from_secs(5)
}

impl Config {
    pub fn check(self) -> Result<Settings, Faults> {
        let Self { database_url, currency, reservation_ttl, expiry_interval, items: goods } = self;
        let mut faults = Faults::default();
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            faults.add("/currency", "must be three capital letters, such as USD");
        }
        for (pointer, value) in [("/reservation_ttl", reservation_ttl), ("/expiry_interval", expiry_interval)]
        {
            if !(Duration::from_secs(1)..=reservation::LONGEST).contains(&value) {
                faults.add(pointer, "must be from 1s to 24h");
            }
        }
        let items = check_goods(&mut faults, goods, &currency);
        faults.none_or(Settings { database_url, currency, reservation_ttl, expiry_interval, items })
    }
}

fn check_goods(faults: &mut Faults, goods: Vec<Good>, currency: &str) -> Vec<Item> {
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(goods.len());
    for (index, Good { sku, name, price, on_hand }) in goods.into_iter().enumerate() {
        let at = format!("/items/{index}");
        check_good(faults, &at, &name, price, on_hand);
        match Sku::parse(&sku) {
            None => faults.add(format!("{at}/sku"), Sku::RULE),
            Some(sku) if !seen.insert(sku.clone()) => faults.add(format!("{at}/sku"), "is there twice"),
            Some(sku) => items.push(Item { sku, name, price, currency: currency.to_owned(), on_hand }),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(config: Value) -> Result<Settings, String> {
        serde_json::from_value::<Config>(config).unwrap().check().map_err(|faults| faults.to_string())
    }

    #[test]
    fn needs_no_more_than_a_database() {
        let settings = check(json!({"database_url": "postgres://"})).ok().unwrap();
        assert_eq!(settings.currency, "USD");
        assert_eq!(settings.reservation_ttl, Duration::from_secs(900));
        assert!(settings.items.is_empty());
    }

    #[test]
    fn names_everything_that_is_wrong() {
        let config = json!({
            "database_url": "", "currency": "Dollar", "reservation_ttl": "25h",
            "items": [
                {"sku": "mug", "name": "Mug", "price": 1, "on_hand": 1},
                {"sku": "mug", "name": "Mug", "price": -1, "on_hand": 1},
                {"sku": "a mug", "name": "Mug", "price": 1, "on_hand": 1},
            ],
        });
        let expected = [
            "/currency: must be three capital letters, such as USD",
            "/reservation_ttl: must be from 1s to 24h",
            "/items/1/price: must be from 0 to 1000000000",
            "/items/1/sku: is there twice",
            "/items/2/sku: must be 1 to 64 characters, letters, digits, '_', '.' and '-'",
        ];
        assert_eq!(check(config).err().unwrap(), expected.join("; "));
    }
}
