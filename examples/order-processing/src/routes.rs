//! What the outside can ask: to place an order, for one order, for many.

use std::sync::Arc;

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
    journal::{Page, Taken},
    order::Order,
    plugin::Orders,
    request::{NewOrder, idempotency_key},
};

/// Orders in one answer, where nobody says otherwise, and at most.
const LIMIT: (i64, i64) = (50, 200);

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
    let taken = example_database::bounded(journal.take_down(&request, key.as_deref())).await;
    match taken.map_err(|error| example_database::problem(&error))? {
        Taken::New(order, holder) => Ok(answer::of(&orders.await_end(order, holder).await, false)),
        Taken::Known(order) if request.made(&order) => Ok(answer::of(&order, true)),
        Taken::Known(_) => {
            let detail = "the Idempotency-Key was used for another order";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).code("idempotency_key_reused"))
        }
    }
}

async fn show(State(orders): State<Arc<Orders>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let order = example_database::bounded(orders.driver.journal.fetch(&id)).await;
    let order = order.map_err(|error| example_database::problem(&error))?;
    let order = order.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such order"))?;
    Ok(Json(json!(order.shown())))
}

async fn list(
    State(orders): State<Arc<Orders>>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(listing) = listing.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let page = listing.page()?;
    // One more than is shown tells whether there are more.
    let more = Page { limit: page.limit + 1, ..page.clone() };
    let found = example_database::bounded(orders.driver.journal.list(&more)).await;
    let found = found.map_err(|error| example_database::problem(&error))?;
    Ok(Json(shown(&found, page.limit)))
}

fn shown(found: &[Order], limit: i64) -> Value {
    let limit = usize::try_from(limit).unwrap_or_default();
    let items: Vec<_> = found.iter().take(limit).map(Order::shown).collect();
    let last = found.get(..limit).and_then(<[_]>::last).filter(|_| found.len() > limit);
    match last {
        Some(last) => json!({"items": items, "next": last.id}),
        None => json!({"items": items}),
    }
}

impl Listing {
    fn page(self) -> Result<Page, Problem> {
        let Self { status, after, limit } = self;
        let (usual, most) = LIMIT;
        let limit = limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(bad(format!("limit must be 1 to {most}")));
        }
        let known = ["pending", "completed", "rejected"];
        if status.as_deref().is_some_and(|status| !known.contains(&status)) {
            return Err(bad(format!("status must be one of {}", known.join(", "))));
        }
        Ok(Page { status, after, limit })
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
        assert_eq!(shown(&orders, 2)["next"], "b");
        assert_eq!(shown(&orders, 2)["items"].as_array().unwrap().len(), 2);
        assert_eq!(shown(&orders, 3).get("next"), None);
        assert_eq!(shown(&[], 3), json!({"items": []}));
    }

    #[test]
    fn pages_are_bounded() {
        let page = |limit, status: Option<&str>| {
            Listing { status: status.map(str::to_owned), after: None, limit }.page().map(|page| page.limit)
        };
        assert_eq!(page(None, None), Ok(50));
        assert_eq!(page(Some(200), Some("pending")), Ok(200));
        for (limit, status) in [(Some(0), None), (Some(201), None), (None, Some("lost"))] {
            assert_eq!(page(limit, status).unwrap_err().status(), 400);
        }
    }
}
