//! Lists, a page at a time.

use forward_sdk::{
    Problem,
    axum::{
        extract::{FromRequestParts, Query},
        http::{StatusCode, request::Parts},
    },
};
use serde::{Deserialize, Serialize};

use crate::reservation::Status;

/// The items of a page when the request does not say.
const USUAL: i64 = 50;
/// The items of a page at most.
const MOST: i64 = 200;

/// Which page somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    pub limit: i64,
    /// The cursor of the page before.
    pub after: Option<String>,
    pub status: Option<Status>,
}

/// The page as it is written in the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    limit: Option<i64>,
    after: Option<String>,
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    /// The cursor of the next page; without one, this page is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let written = Query::<Written>::try_from_uri(&parts.uri);
        let Query(Written { limit, after, status }) = written.map_err(|error| refuse(error.body_text()))?;
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(refuse(format!("limit must be from 1 to {MOST}")));
        }
        Ok(Self { limit, after, status })
    }
}

impl Wanted {
    /// How many to fetch: one more than the page has tells whether there is another.
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// The cursor, as what a list is ordered by.
    pub fn cursor<T>(&self, parse: fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(after) = &self.after else { return Ok(None) };
        parse(after).map(Some).ok_or_else(|| refuse("after must be the \"next\" of another page"))
    }

    /// The page of what was fetched.
    pub fn page<T>(&self, mut items: Vec<T>, cursor: impl Fn(&T) -> String) -> Page<T> {
        let limit = usize::try_from(self.limit).expect("a limit is from 1 to 200");
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Page { items, next }
    }
}

fn refuse(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use forward_sdk::axum::http::Request;

    use super::*;

    async fn wanted(query: &str) -> Result<Wanted, String> {
        let (mut parts, ()) = Request::get(format!("/list{query}")).body(()).unwrap().into_parts();
        Wanted::from_request_parts(&mut parts, &()).await.map_err(|problem| problem.to_string())
    }

    #[tokio::test]
    async fn reads_the_query_and_refuses_what_it_does_not_know() {
        assert_eq!(wanted("").await, Ok(Wanted { limit: 50, after: None, status: None }));
        let whole = wanted("?limit=200&after=mug&status=active").await;
        let expected = Wanted { limit: 200, after: Some("mug".to_owned()), status: Some(Status::Active) };
        assert_eq!(whole, Ok(expected));
        for bad in ["?limit=0", "?limit=201", "?limit=x", "?status=gone", "?offset=1"] {
            assert!(wanted(bad).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_page_points_to_the_next_one_if_there_is_one() {
        let wanted = wanted("?limit=2").await.unwrap();
        let page = wanted.page(vec![1, 2, 3], i32::to_string);
        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2], Some("2")));
        let last = wanted.page(vec![1, 2], i32::to_string);
        assert_eq!((last.items, last.next), (vec![1, 2], None));
    }
}
