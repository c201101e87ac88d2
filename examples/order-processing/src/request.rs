//! What customers send: read, and checked field by field before an order is made of it.

use std::collections::BTreeMap;

use forward_sdk::{
    FieldError, Problem,
    axum::http::{HeaderMap, StatusCode},
};
use serde::Deserialize;

use crate::order::{Item, Order};

/// The items of an order, at most.
const ITEMS: usize = 50;
/// How many of one thing, at most.
const QUANTITY: i64 = 1_000;
/// The length of a name of any kind, in characters.
const NAME: usize = 100;
/// The length of an idempotency key, in bytes.
const KEY: usize = 255;

/// The body of `POST /api/orders`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    pub customer_id: String,
    pub payment_method: String,
    pub items: Vec<NewItem>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    pub sku: String,
    pub quantity: i64,
}

impl NewOrder {
    /// Whether an order can be made of it.
    ///
    /// # Errors
    /// Everything that is wrong, each at its place.
    pub fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        errors.extend(check_name("#/customer_id", &self.customer_id));
        errors.extend(check_name("#/payment_method", &self.payment_method));
        if !(1..=ITEMS).contains(&self.items.len()) {
            errors.push(FieldError::new("#/items", format!("must be 1 to {ITEMS} items")));
        }
        let mut seen = BTreeMap::new();
        for (at, item) in self.items.iter().enumerate() {
            let pointer = format!("#/items/{at}/sku");
            errors.extend(check_name(&pointer, &item.sku));
            if let Some(first) = seen.get(item.sku.as_str()) {
                errors.push(FieldError::new(pointer, format!("is there already, at #/items/{first}/sku")));
            }
            seen.entry(item.sku.as_str()).or_insert(at);
            if !(1..=QUANTITY).contains(&item.quantity) {
                let pointer = format!("#/items/{at}/quantity");
                errors.push(FieldError::new(pointer, format!("must be 1 to {QUANTITY}")));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }

    /// The items, whose prices are not known yet.
    pub fn items(&self) -> Vec<Item> {
        let item = |item: &NewItem| Item { sku: item.sku.clone(), quantity: item.quantity, price: None };
        self.items.iter().map(item).collect()
    }

    /// Whether it is this that the order was made of.
    pub fn made(&self, order: &Order) -> bool {
        let asked = self.items.iter().map(|item| (&item.sku, item.quantity));
        self.customer_id == order.customer_id
            && self.payment_method == order.payment_method
            && asked.eq(order.items.iter().map(|item| (&item.sku, item.quantity)))
    }
}

/// The key that makes a request the same as an earlier one.
///
/// # Errors
/// When it is none.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let printable =
        |key: &&str| (1..=KEY).contains(&key.len()) && key.bytes().all(|c| (b' '..=b'~').contains(&c));
    let key = key.to_str().ok().filter(printable);
    let wrong = || format!("the header Idempotency-Key must be 1 to {KEY} printable ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, wrong()))
}

fn check_name(pointer: &str, name: &str) -> Option<FieldError> {
    let fits = (1..=NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    (!fits).then(|| {
        FieldError::new(pointer, format!("must be 1 to {NAME} characters, none of them a control character"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::step::Step;

    fn order(body: Value) -> NewOrder {
        serde_json::from_value(body).unwrap()
    }

    /// The places that are wrong, as the sentence says that has the only one.
    fn wrong(items: Value) -> String {
        let body = json!({"customer_id": "ada", "payment_method": "card_ok", "items": items});
        order(body).check().map_or_else(|problem| problem.to_string(), |()| "nothing".to_owned())
    }

    #[test]
    fn takes_what_is_right() {
        assert_eq!(wrong(json!([{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 1000}])), "nothing");
    }

    #[test]
    fn names_the_place_that_is_wrong() {
        let one = |sku: &str, quantity: i64| json!({"sku": sku, "quantity": quantity});
        assert_eq!(wrong(json!([])), "#/items: must be 1 to 50 items");
        assert_eq!(wrong(json!([one("a", 0)])), "#/items/0/quantity: must be 1 to 1000");
        assert_eq!(wrong(json!([one("a", 1), one("b", 1001)])), "#/items/1/quantity: must be 1 to 1000");
        let twice = json!([one("a", 1), one("b", 1), one("a", 2)]);
        assert_eq!(wrong(twice), "#/items/2/sku: is there already, at #/items/0/sku");
        assert!(wrong(json!([one("a\0", 1)])).starts_with("#/items/0/sku: must be 1 to 100 characters"));
        let many: Vec<_> = (0..51).map(|at| one(&at.to_string(), 1)).collect();
        assert_eq!(wrong(many.into()), "#/items: must be 1 to 50 items");
    }

    #[test]
    fn names_every_place_that_is_wrong() {
        let body = json!({"customer_id": "", "payment_method": "x".repeat(101), "items": []});
        let problem = order(body).check().unwrap_err();
        assert_eq!(problem.to_string(), "3 things are wrong with the request");
    }

    #[test]
    fn tells_the_same_order_from_another() {
        let body = |quantity: i64| {
            let items = json!([{"sku": "pen", "quantity": quantity}]);
            order(json!({"customer_id": "ada", "payment_method": "card_ok", "items": items}))
        };
        let known = Order::example(Step::Completed);
        assert!(body(2).made(&known));
        assert!(!body(3).made(&known));
    }

    #[test]
    fn keys_are_short_and_printable() {
        let key = |key: &[u8]| {
            let value = forward_sdk::axum::http::HeaderValue::from_bytes(key).unwrap();
            idempotency_key(&HeaderMap::from_iter([("idempotency-key".parse().unwrap(), value)]))
        };
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert_eq!(key(b"cart 7"), Ok(Some("cart 7".to_owned())));
        for bad in ["".as_bytes(), "é".as_bytes(), "a\tb".as_bytes(), "x".repeat(256).as_bytes()] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }
}
