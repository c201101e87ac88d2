//! Which page of a list a request asks for.

use example_database::Limit;
use forward_sdk::{
    Problem,
    axum::{
        extract::{FromRequestParts, Query},
        http::{StatusCode, request::Parts},
    },
};
use serde::Deserialize;

use crate::reservation::Status;

/// Which page somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    pub limit: Limit,
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

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let written = Query::<Written>::try_from_uri(&parts.uri);
        let Query(Written { limit, after, status }) = written.map_err(|error| refuse(error.body_text()))?;
        let limit =
            Limit::new(limit).ok_or_else(|| refuse(format!("limit must be from 1 to {}", Limit::MOST)))?;
        Ok(Self { limit, after, status })
    }
}

impl Wanted {
    /// The cursor, as what a list is ordered by.
    pub fn cursor<T>(&self, parse: fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(after) = &self.after else { return Ok(None) };
        parse(after).map(Some).ok_or_else(|| refuse("after must be the \"next\" of another page"))
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

    fn limit(limit: i64) -> Limit {
        Limit::new(Some(limit)).unwrap()
    }

    #[tokio::test]
    async fn reads_the_query_and_refuses_what_it_does_not_know() {
        assert_eq!(wanted("").await, Ok(Wanted { limit: limit(50), after: None, status: None }));
        let whole = wanted("?limit=200&after=mug&status=active").await;
        let expected =
            Wanted { limit: limit(200), after: Some("mug".to_owned()), status: Some(Status::Active) };
        assert_eq!(whole, Ok(expected));
        for bad in ["?limit=0", "?limit=201", "?limit=x", "?status=gone", "?offset=1"] {
            assert!(wanted(bad).await.is_err(), "{bad}");
        }
    }
}
