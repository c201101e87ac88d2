//! The stock of an order: its prices, and its reservation, whose id is the order's.
//!
//! A release of what was never reserved leaves a mark, so that a reservation which comes late is
//! refused.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    order::{Item, Order},
    outcome::{Answer, Blame, Learnt, Outcome, Quote, Reason, Refusal, Unclear},
    services::{reach::Service, reply::Reply},
};

/// For how long stock is reserved, in seconds: as long as the inventory may be away between a
/// reservation and its commit before the order is given up.
const RESERVED_FOR: u32 = 3_600;

#[derive(Clone, Debug)]
pub struct Inventory {
    service: Service,
}

/// An item without its price, as the inventory is asked for it.
#[derive(Debug, Serialize)]
struct Wanted<'a> {
    sku: &'a str,
    quantity: i64,
}

#[derive(Debug, Deserialize)]
struct Availability {
    available: bool,
    currency: String,
    items: Vec<Available>,
}

#[derive(Debug, Deserialize)]
struct Available {
    sku: String,
    available: i64,
    price: i64,
    sufficient: bool,
}

impl Inventory {
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Asks for the prices, and whether there is enough.
    pub async fn check(&self, order: &Order) -> Result<Answer, Unclear> {
        let body = json!({"items": wanted(order)});
        read_check(&self.service.post("/api/inventory/availability", None, &body).await?, order)
    }

    /// Reserves all of the items.
    pub async fn reserve(&self, order: &Order) -> Result<Answer, Unclear> {
        let body = json!({"id": order.id, "items": wanted(order), "ttl_seconds": RESERVED_FOR});
        read_reserve(&self.service.post("/api/inventory/reservations", None, &body).await?)
    }

    /// Takes what is reserved out of stock.
    pub async fn commit(&self, order: &Order) -> Result<Answer, Unclear> {
        read_commit(&self.settle(order, "commit").await?)
    }

    /// Gives back what is reserved, and sees to it that nothing will be.
    pub async fn release(&self, order: &Order) -> Result<Answer, Unclear> {
        read_release(&self.settle(order, "release").await?)
    }

    async fn settle(&self, order: &Order, verb: &str) -> Result<Reply, Unclear> {
        let path = format!("/api/inventory/reservations/{}/{verb}", order.id);
        self.service.post(&path, None, &json!({})).await
    }
}

fn wanted(order: &Order) -> Vec<Wanted<'_>> {
    order.items.iter().map(|Item { sku, quantity, .. }| Wanted { sku, quantity: *quantity }).collect()
}

fn read_check(reply: &Reply, order: &Order) -> Result<Answer, Unclear> {
    match reply.status {
        StatusCode::OK => {
            let availability: Availability = reply.read()?;
            if !availability.available {
                return Ok(insufficient(&availability, order));
            }
            let uncounted = || Unclear("it does not price every item, or beyond counting".to_owned());
            let quote = quote(availability, order).ok_or_else(uncounted)?;
            let learnt = Learnt { quote: Some(quote), payment_id: None };
            Ok(Answer { outcome: Outcome::Done, learnt })
        }
        StatusCode::UNPROCESSABLE_ENTITY => Ok(items_refused(reply)),
        _ => Err(reply.says_nothing()),
    }
}

/// The order's own sum: the prices that are kept are those that are charged.
fn quote(Availability { currency, items: answered, .. }: Availability, order: &Order) -> Option<Quote> {
    let mut total = 0_i64;
    let mut items = order.items.clone();
    for item in &mut items {
        let price = answered.iter().find(|answered| answered.sku == item.sku)?.price;
        total = total.checked_add(price.checked_mul(item.quantity)?)?;
        item.price = Some(price);
    }
    Some(Quote { items, total, currency })
}

fn insufficient(availability: &Availability, order: &Order) -> Answer {
    let short = |(at, item): (usize, &Item)| {
        let left = availability.items.iter().find(|left| left.sku == item.sku && !left.sufficient)?;
        let detail = format!("{} wanted, {} available", item.quantity, left.available);
        Some(Blame { pointer: format!("#/items/{at}/quantity"), detail })
    };
    let errors = order.items.iter().enumerate().filter_map(short).collect();
    let refusal = Refusal::new(Reason::InsufficientStock, "there is not enough in stock");
    Outcome::Refused(refusal.blaming(errors)).into()
}

fn read_reserve(reply: &Reply) -> Result<Answer, Unclear> {
    let problem = reply.problem();
    match (reply.status, problem.code.as_str()) {
        (StatusCode::OK | StatusCode::CREATED, _) => Ok(Answer::done()),
        (StatusCode::UNPROCESSABLE_ENTITY, _) => Ok(items_refused(reply)),
        (StatusCode::CONFLICT, "insufficient_stock") => {
            Ok(problem.refusal(Reason::InsufficientStock, same_place))
        }
        (StatusCode::CONFLICT, "reservation_expired" | "reservation_released" | "reservation_differs") => {
            Ok(lost())
        }
        _ => Err(reply.says_nothing()),
    }
}

fn read_commit(reply: &Reply) -> Result<Answer, Unclear> {
    match (reply.status, reply.problem().code.as_str()) {
        (StatusCode::OK, _) => Ok(Answer::done()),
        (StatusCode::CONFLICT, "reservation_expired" | "reservation_released") => Ok(lost()),
        // The reservation was made: the inventory has lost it.
        (StatusCode::NOT_FOUND, _) if reply.is_problem() => Ok(lost()),
        _ => Err(reply.says_nothing()),
    }
}

fn read_release(reply: &Reply) -> Result<Answer, Unclear> {
    match (reply.status, reply.problem().code.as_str()) {
        (StatusCode::OK, _) | (StatusCode::CONFLICT, "reservation_expired") => Ok(Answer::done()),
        (StatusCode::CONFLICT, "reservation_committed") => {
            Ok(Answer::refused(Reason::ReservationLost, "the reservation is committed"))
        }
        _ => Err(reply.says_nothing()),
    }
}

/// The items are sent as they stand in the order, so what is wrong is at the same place there.
fn same_place(pointer: &str) -> Option<String> {
    pointer.starts_with("#/items").then(|| pointer.to_owned())
}

fn items_refused(reply: &Reply) -> Answer {
    reply.problem().refusal(Reason::ItemsRefused, same_place)
}

fn lost() -> Answer {
    Answer::refused(Reason::ReservationLost, "the reservation ran out before it could be made final")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::step::Step;

    fn checked(body: &Value) -> Result<Answer, Unclear> {
        read_check(&Reply::example(200, body), &Order::example(Step::Checking))
    }

    fn availability(available: i64, price: i64) -> Value {
        let sufficient = available >= 2;
        let item = json!({"sku": "pen", "available": available, "price": price, "sufficient": sufficient});
        json!({"available": sufficient, "currency": "EUR", "items": [item]})
    }

    #[test]
    fn the_total_is_the_sum_of_the_prices() {
        let Quote { items, total, currency } = checked(&availability(2, 120)).unwrap().learnt.quote.unwrap();
        assert_eq!((items[0].price, total, currency.as_str()), (Some(120), 240, "EUR"));
    }

    #[test]
    fn what_cannot_be_counted_is_not_charged() {
        for body in [availability(2, i64::MAX), json!({"available": true, "currency": "EUR", "items": []})] {
            assert!(checked(&body).is_err(), "{body}");
        }
    }

    #[test]
    fn too_little_is_said_at_its_place() {
        let Outcome::Refused(refusal) = checked(&availability(1, 120)).unwrap().outcome else { panic!() };
        assert_eq!(refusal.reason, Reason::InsufficientStock);
        assert_eq!(refusal.errors[0].pointer, "#/items/0/quantity");
        assert_eq!(refusal.errors[0].detail, "2 wanted, 1 available");
    }

    /// How the three calls about a reservation are read: reserve, commit, release.
    fn read(status: u16, code: &str) -> [&'static str; 3] {
        let reply = Reply::example(status, &json!({"status": status, "code": code}));
        let answers = [read_reserve(&reply), read_commit(&reply), read_release(&reply)];
        answers.map(|answer| answer.unwrap_or_else(Answer::from).outcome.name())
    }

    #[test]
    fn only_what_the_interface_calls_final_is_final() {
        assert_eq!(read(200, ""), ["done", "done", "done"]);
        assert_eq!(read(201, ""), ["done", "unknown", "unknown"]);
        assert_eq!(read(409, "insufficient_stock"), ["refused", "unknown", "unknown"]);
        assert_eq!(read(409, "reservation_differs"), ["refused", "unknown", "unknown"]);
        assert_eq!(read(409, "reservation_released"), ["refused", "refused", "unknown"]);
        assert_eq!(read(409, "reservation_expired"), ["refused", "refused", "done"]);
        assert_eq!(read(409, "reservation_committed"), ["unknown", "unknown", "refused"]);
        assert_eq!(read(404, ""), ["unknown", "refused", "unknown"]);
        assert_eq!(read(422, ""), ["refused", "unknown", "unknown"]);
        for status in [301, 400, 401, 429, 500, 502, 503, 504] {
            assert_eq!(read(status, ""), ["unknown"; 3], "{status}");
        }
    }

    #[test]
    fn a_404_of_somebody_else_does_not_say_that_the_reservation_is_gone() {
        let reply = Reply::example(404, &json!("no such route"));
        assert!(read_commit(&reply).is_err());
    }
}
