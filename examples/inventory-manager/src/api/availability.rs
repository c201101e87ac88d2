//! `/api/inventory/availability`: what an order would meet, without reserving anything.

use std::{collections::BTreeMap, sync::Arc};

use example_database::ask;
use forward_sdk::{FieldError, Json, Problem, axum::extract::State};
use serde::{Deserialize, Serialize};

use crate::{
    faults::Faults,
    inventory::Inventory,
    item::{Sku, Stock},
    lines::{Line, Lines, Wanted},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    items: Vec<Wanted>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Answer {
    available: bool,
    total: i64,
    currency: String,
    items: Vec<AnswerLine>,
}

#[derive(Debug, PartialEq, Serialize)]
struct AnswerLine {
    sku: Sku,
    name: String,
    requested: i64,
    available: i64,
    price: i64,
    sufficient: bool,
}

pub async fn check(
    State(inventory): State<Arc<Inventory>>,
    Json(question): Json<Question>,
) -> Result<Json<Answer>, Problem> {
    let mut faults = Faults::default();
    let lines = Lines::check(question.items, &mut faults);
    let lines = faults.none_or(lines)?;
    let stock = ask(inventory.store.fetch_stock(&lines.skus())).await?;
    let stock = stock.into_iter().map(|item| (item.sku.clone(), item)).collect();
    answer(&lines, stock, &inventory.currency).map(Json)
}

/// The answer in the order of the question.
fn answer(lines: &Lines, mut stock: BTreeMap<Sku, Stock>, currency: &str) -> Result<Answer, Problem> {
    let mut unknown = Vec::new();
    let mut items = Vec::new();
    let mut total = Some(0_i64);
    for (index, Line { sku, quantity }) in lines.iter().enumerate() {
        let Some(Stock { name, price, available, .. }) = stock.remove(sku) else {
            unknown.push(index);
            continue;
        };
        total = price.checked_mul(*quantity).and_then(|cost| total?.checked_add(cost));
        let (sku, requested, sufficient) = (sku.clone(), *quantity, available >= *quantity);
        items.push(AnswerLine { sku, name, requested, available, price, sufficient });
    }
    if !unknown.is_empty() {
        return Err(refuse_unknown(&unknown));
    }
    let total = total.ok_or_else(|| Problem::invalid([FieldError::new("#/items", "cost too much")]))?;
    let available = items.iter().all(|item| item.sufficient);
    Ok(Answer { available, total, currency: currency.to_owned(), items })
}

/// The answer to lines whose SKUs are not in the inventory.
pub fn refuse_unknown(places: &[usize]) -> Problem {
    let error = |place: &usize| FieldError::new(format!("#/items/{place}/sku"), "is not in the inventory");
    Problem::invalid(places.iter().map(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(wanted: &[(&str, i64)]) -> Lines {
        let wanted: Vec<_> =
            wanted.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
        Lines::check(serde_json::from_value(json!(wanted)).unwrap(), &mut Faults::default())
    }

    fn stock(sku: &str, price: i64, available: i64) -> (Sku, Stock) {
        let (name, currency) = (sku.to_uppercase(), "USD".to_owned());
        let sku = Sku::parse(sku).unwrap();
        let (on_hand, reserved, overdue) = (available, 0, 0);
        (sku.clone(), Stock { sku, name, price, currency, on_hand, reserved, available, overdue })
    }

    #[test]
    fn adds_up_in_the_order_of_the_question() {
        let stock = || BTreeMap::from([stock("a", 150, 2), stock("b", 1000, 1)]);
        let Ok(enough) = answer(&lines(&[("b", 1), ("a", 2)]), stock(), "USD") else { panic!("it is there") };
        assert_eq!((enough.available, enough.total), (true, 1300));
        assert_eq!(enough.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["B", "A"]);
        let Ok(short) = answer(&lines(&[("b", 2), ("a", 2)]), stock(), "USD") else { panic!("it is there") };
        assert!(!short.available);
        assert_eq!(short.items.iter().map(|item| item.sufficient).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn names_the_places_of_unknown_items_and_refuses_sums_that_do_not_fit() {
        let unknown = answer(&lines(&[("a", 1), ("c", 1)]), BTreeMap::from([stock("a", 1, 1)]), "USD");
        assert_eq!(unknown.unwrap_err(), refuse_unknown(&[1]));
        let dear = answer(&lines(&[("a", 2)]), BTreeMap::from([stock("a", i64::MAX, 9)]), "USD");
        assert_eq!(dear.unwrap_err().to_string(), "#/items: cost too much");
    }
}
