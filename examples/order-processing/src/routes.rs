//! What the outside can ask: to place an order, for one order, for many.

use std::sync::Arc;

use example_database::{Limit, Page, ask};
use forward_sdk::{
    Json, Problem, Routes,
    axum::{
        extract::{Path, Query, State, rejection::QueryRejection},
        http::{HeaderMap, StatusCode},
        response::Response,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer,
    journal::{Listed, Taken},
    order::Order,
    plugin::Orders,
    request::{NewOrder, idempotency_key},
};

pub fn routes() -> Routes<Orders> {
    Routes::new()
        .post("/api/orders", place)
        .describe("Places an order: pays it and takes it out of stock.")
        .get("/api/orders", list)
        .describe("Orders, the newest first.")
        .get("/api/orders/:id", show)
        .describe("One order.")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    status: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

async fn place(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Json(request): Json<NewOrder>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    request.check()?;
    let journal = &orders.driver.journal;
    match ask(journal.take_down(&request, key.as_deref())).await? {
        Taken::New(order, holder) => Ok(answer::of(&orders.await_end(order, holder).await, false)),
        Taken::Known(order) if request.made(&order) => Ok(answer::of(&order, true)),
        Taken::Known(_) => {
            let detail = "the Idempotency-Key was used for another order";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).code("idempotency_key_reused"))
        }
    }
}

async fn show(State(orders): State<Arc<Orders>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let order = ask(orders.driver.journal.fetch(&id)).await?;
    let order = order.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such order"))?;
    Ok(Json(json!(order.shown())))
}

async fn list(
    State(orders): State<Arc<Orders>>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(listing) = listing.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let listed = listing.check()?;
    let found = ask(orders.driver.journal.list(&listed)).await?;
    Ok(Json(shown(found, listed.limit)))
}

fn shown(found: Vec<Order>, limit: Limit) -> Value {
    let Page { items, next } = limit.page(found, |order| order.id.clone());
    json!(Page { items: items.iter().map(Order::shown).collect(), next })
}

impl Listing {
    fn check(self) -> Result<Listed, Problem> {
        let Self { status, after, limit } = self;
        let limit = Limit::new(limit).ok_or_else(|| bad(format!("limit must be 1 to {}", Limit::MOST)))?;
        let known = ["pending", "completed", "rejected"];
        if status.as_deref().is_some_and(|status| !known.contains(&status)) {
            return Err(bad(format!("status must be one of {}", known.join(", "))));
        }
        Ok(Listed { status, after, limit })
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Step;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let orders: Vec<_> =
            ["c", "b", "a"].map(|id| Order { id: id.to_owned(), ..Order::example(Step::Completed) }).into();
        let shown = |orders: &[Order], limit| shown(orders.to_vec(), Limit::new(Some(limit)).unwrap());
        assert_eq!(shown(&orders, 2)["next"], "b");
        assert_eq!(shown(&orders, 2)["items"].as_array().unwrap().len(), 2);
        assert_eq!(shown(&orders, 3).get("next"), None);
        assert_eq!(shown(&[], 3), json!({"items": []}));
    }

    #[test]
    fn pages_are_bounded() {
        let page = |limit, status: Option<&str>| {
            Listing { status: status.map(str::to_owned), after: None, limit }
                .check()
                .map(|listed| listed.limit)
        };
        assert_eq!(page(None, None), Ok(Limit::new(Some(50)).unwrap()));
        assert_eq!(page(Some(200), Some("pending")), Ok(Limit::new(Some(200)).unwrap()));
        for (limit, status) in [(Some(0), None), (Some(201), None), (None, Some("lost"))] {
            assert_eq!(page(limit, status).unwrap_err().status(), 400);
        }
    }
}
