//! What must hold between the orders, the money and the stock, whatever happened.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::Counter;

/// What the plugins have written down.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Every order.
    pub orders: Vec<Order>,
    /// Every payment.
    pub payments: Vec<Payment>,
    /// Every reservation.
    pub reservations: Vec<Reservation>,
    /// Every item.
    pub items: Vec<Item>,
}

/// An order, as far as the books need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    id: String,
    status: String,
    /// Not there before the prices were asked for.
    #[serde(default)]
    total: i64,
    items: Vec<Line>,
}

/// A payment, as far as the books need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Payment {
    id: String,
    status: String,
    amount: i64,
    refunded: i64,
    reference: Option<String>,
}

/// A reservation, as far as the books need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Reservation {
    id: String,
    status: String,
    items: Vec<Line>,
}

/// So many of an item.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    sku: String,
    quantity: i64,
}

/// An item in stock.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    sku: String,
    on_hand: i64,
    reserved: i64,
}

type Quantities<'a> = BTreeMap<&'a str, i64>;

impl Books {
    pub(super) async fn read(counter: &Counter) -> Result<Self> {
        async fn all<T: serde::de::DeserializeOwned>(counter: &Counter, path: &str) -> Result<Vec<T>> {
            let list = counter.list(path).await?;
            Ok(list.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?)
        }
        Ok(Self {
            orders: all(counter, "/api/orders").await?,
            payments: all(counter, "/api/payments").await?,
            reservations: all(counter, "/api/inventory/reservations").await?,
            items: all(counter, "/api/inventory/items").await?,
        })
    }

    /// How many orders have a status.
    pub fn orders_with(&self, status: &str) -> usize {
        self.orders.iter().filter(|order| order.status == status).count()
    }

    /// Err with everything that is wrong, against the books before any order was made.
    pub fn check(&self, before: &Self) -> Result<()> {
        let wrong = self.wrong(before);
        ensure!(wrong.is_empty(), "the books are wrong:\n  {}", wrong.join("\n  "));
        Ok(())
    }

    fn wrong(&self, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for order in &self.orders {
            wrong.extend(self.order(order).map(|what| format!("order {}: {what}", order.id)));
        }
        for payment in &self.payments {
            let known = self.orders.iter().any(|order| payment.reference.as_ref() == Some(&order.id));
            if !known && payment.status == "succeeded" && payment.refunded < payment.amount {
                wrong.push(format!("payment {} is kept and belongs to no order", payment.id));
            }
        }
        for reservation in self.reservations.iter().filter(|one| one.status == "committed") {
            if !self.orders.iter().any(|order| order.id == reservation.id) {
                wrong.push(format!("reservation {} is committed and belongs to no order", reservation.id));
            }
        }
        wrong.extend(self.stock(before));
        wrong
    }

    /// What is wrong with one order.
    fn order(&self, order: &Order) -> Option<String> {
        let paid: Vec<_> =
            self.payments.iter().filter(|payment| payment.reference.as_ref() == Some(&order.id)).collect();
        let kept = paid.iter().filter(|payment| payment.status == "succeeded");
        let kept: i64 = kept.map(|payment| payment.amount - payment.refunded).sum();
        let reservation = self.reservations.iter().find(|reservation| reservation.id == order.id);
        let stock = reservation.map_or("none", |reservation| reservation.status.as_str());
        match order.status.as_str() {
            "completed" if kept != order.total => Some(format!("costs {}, and {kept} was paid", order.total)),
            "completed" if stock != "committed" => Some(format!("completed, and its reservation is {stock}")),
            "completed" if paid.len() != 1 => Some(format!("{} payments", paid.len())),
            "completed"
                if reservation.is_none_or(|one| quantities(&one.items) != quantities(&order.items)) =>
            {
                Some("other goods were reserved than were ordered".to_owned())
            }
            "rejected" if kept != 0 => Some(format!("rejected, and {kept} is kept")),
            "rejected" if matches!(stock, "active" | "committed") => {
                Some(format!("rejected, and its reservation is {stock}"))
            }
            "completed" | "rejected" => None,
            other => Some(format!("it is still {other}")),
        }
    }

    /// What is wrong with the stock: what is gone must be what was committed.
    fn stock(&self, before: &Self) -> Vec<String> {
        let of = |status: &str| {
            let found = self.reservations.iter().filter(|reservation| reservation.status == status);
            let lines: Vec<_> = found.flat_map(|reservation| reservation.items.clone()).collect();
            lines
        };
        let (committed, active) = (of("committed"), of("active"));
        let (committed, active) = (quantities(&committed), quantities(&active));
        let at_first: Quantities<'_> =
            before.items.iter().map(|item| (item.sku.as_str(), item.on_hand)).collect();
        let count = |lines: &Quantities<'_>, sku: &str| lines.get(sku).copied().unwrap_or(0);
        let mut wrong = Vec::new();
        for Item { sku, on_hand, reserved } in &self.items {
            let (first, gone, held) = (count(&at_first, sku), count(&committed, sku), count(&active, sku));
            if first - gone != *on_hand {
                wrong.push(format!("{sku}: of {first}, {gone} were sold, and {on_hand} are there"));
            }
            if held != *reserved {
                wrong.push(format!("{sku}: {held} are in reservations, and {reserved} are held"));
            }
        }
        wrong
    }
}

fn quantities(lines: &[Line]) -> Quantities<'_> {
    let mut sum = Quantities::new();
    for Line { sku, quantity } in lines {
        *sum.entry(sku).or_default() += quantity;
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One of ten mugs was sold for 1200.
    fn sold() -> (Books, Books) {
        let items = |on_hand: i64| vec![Item { sku: "mug".to_owned(), on_hand, reserved: 0 }];
        let line = json!([{"sku": "mug", "quantity": 1, "price": 1200}]);
        let order = json!({"id": "ord_1", "status": "completed", "total": 1200, "items": line});
        let payment = json!({
            "id": "pay_1", "status": "succeeded", "amount": 1200, "refunded": 0, "reference": "ord_1",
        });
        let reservation = json!({"id": "ord_1", "status": "committed", "items": line});
        let after = Books {
            orders: vec![serde_json::from_value(order).unwrap()],
            payments: vec![serde_json::from_value(payment).unwrap()],
            reservations: vec![serde_json::from_value(reservation).unwrap()],
            items: items(9),
        };
        (Books { items: items(10), ..Books::default() }, after)
    }

    fn wrong_after(change: impl FnOnce(&mut Books)) -> String {
        let (before, mut after) = sold();
        change(&mut after);
        after.wrong(&before).join("; ")
    }

    #[test]
    fn what_was_sold_and_paid_is_right() {
        assert_eq!(wrong_after(|_| {}), "");
    }

    #[test]
    fn finds_wrong_money() {
        assert_eq!(
            wrong_after(|books| books.payments[0].refunded = 1200),
            "order ord_1: costs 1200, and 0 was paid"
        );
        let twice = wrong_after(|books| books.payments.push(books.payments[0].clone()));
        assert_eq!(twice, "order ord_1: costs 1200, and 2400 was paid");
        let kept = wrong_after(|books| {
            books.orders[0].status = "rejected".to_owned();
            books.reservations[0].status = "released".to_owned();
            books.items[0].on_hand = 10;
        });
        assert_eq!(kept, "order ord_1: rejected, and 1200 is kept");
        let stray = wrong_after(|books| {
            books.payments.push(Payment {
                reference: None,
                id: "pay_2".to_owned(),
                ..books.payments[0].clone()
            });
        });
        assert_eq!(stray, "payment pay_2 is kept and belongs to no order");
    }

    #[test]
    fn finds_wrong_stock() {
        assert_eq!(
            wrong_after(|books| books.items[0].on_hand = 8),
            "mug: of 10, 1 were sold, and 8 are there"
        );
        assert_eq!(
            wrong_after(|books| books.items[0].reserved = 1),
            "mug: 0 are in reservations, and 1 are held"
        );
        let other = wrong_after(|books| {
            books.reservations[0].items[0].quantity = 2;
            books.items[0].on_hand = 8;
        });
        assert_eq!(other, "order ord_1: other goods were reserved than were ordered");
    }

    #[test]
    fn finds_orders_without_an_end() {
        let pending = wrong_after(|books| books.orders[0].status = "pending".to_owned());
        assert_eq!(pending, "order ord_1: it is still pending");
    }
}
