//! Where events are kept.
//!
//! Each storage numbers the events in the order in which they become visible: whoever has seen an
//! event's position has been able to see every event before it. Ids are remembered for as long as
//! their events. Nothing grows without bound.

mod memory;
mod postgres;
mod redis;

use std::{sync::Arc, time::Duration};

use forward_sdk::{
    Problem,
    axum::http::{HeaderValue, StatusCode, header},
    tracing,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

pub use self::{memory::Memory, postgres::Postgres, redis::Redis};
use crate::{
    config::{Location, Settings},
    event::Event,
    query::{Answer, Query},
};

/// How long whoever found the storage away should wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

pub trait Storage: Send + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Keeps events, all or none, and leaves out those whose id was seen. When this fails it may
    /// have happened all the same: whoever repeats it needs ids.
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Appended, StorageError>>;

    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, StorageError>>;

    /// The events after a position, in order.
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, StorageError>>;

    fn extent(&self) -> BoxFuture<'_, Result<Extent, StorageError>>;

    /// Returns when there may be events after a position, or a little later.
    fn await_after(&self, position: u64) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Forgets events that came in before a moment; says how many.
    fn forget_before(&self, moment: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>>;
}

/// An event at its place.
#[derive(Debug, PartialEq, Serialize)]
pub struct Stored {
    #[serde(skip)]
    pub position: u64,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub accepted: usize,
    pub duplicates: usize,
}

/// What a storage holds: the events from `oldest` to `newest`. Invariant: base < oldest ≤ newest + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Positions up to this one belong to no event of this storage: at most to an earlier one, that
    /// was lost.
    pub base: u64,
    /// The first position that is kept, or the next one where nothing is kept.
    pub oldest: u64,
    /// The last position that was given.
    pub newest: u64,
}

impl Extent {
    pub fn kept(self) -> u64 {
        (self.newest + 1).saturating_sub(self.oldest)
    }

    pub fn forgotten(self) -> u64 {
        self.oldest.saturating_sub(self.base + 1)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the storage did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the question takes longer than {0:?}")]
    QueryTooSlow(Duration),
    #[error("ask PostgreSQL")]
    AskPostgres(#[source] sqlx::Error),
    #[error("ask Redis")]
    AskRedis(#[source] ::redis::RedisError),
    #[error("read the event at {position}")]
    ReadEvent { position: u64, source: serde_json::Error },
    #[error("write the events")]
    WriteEvents(#[source] serde_json::Error),
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the storage did not do as it was asked");
        let (code, detail) = match error {
            StorageError::QueryTooSlow(_) => {
                ("query_too_slow", "the question takes too long; ask about a shorter time")
            }
            _ => ("storage_unavailable", "the events cannot be reached right now"),
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).code(code);
        problem.header(header::RETRY_AFTER, RETRY_AFTER)
    }
}

/// Opens the storage that the configuration names.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Storage>, forward_sdk::Error> {
    Ok(match &settings.storage {
        Location::Memory => Arc::new(Memory::new(Timestamp::now())),
        Location::Redis { url } => Arc::new(Redis::connect(url, settings.retention).await?),
        Location::Postgres { url } => Arc::new(Postgres::connect(url).await?),
    })
}

/// Waits no longer than `limit` for a storage.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(StorageError::TimedOut(limit)))
}

/// A position before the first of a storage that forgets when it ends: higher than any that an
/// earlier one can have given, and exact as a number in JavaScript.
fn base_at(now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond()).unwrap_or_default() * 1_000
}

/// Splits a batch into the first event of each id and the number of the others.
fn distinct(events: Vec<Event>) -> (Vec<Event>, usize) {
    let mut seen = std::collections::HashSet::new();
    let total = events.len();
    let events: Vec<_> =
        events.into_iter().filter(|event| event.id.clone().is_none_or(|id| seen.insert(id))).collect();
    let duplicates = total - events.len();
    (events, duplicates)
}

/// The moment before which nothing is kept.
pub fn horizon(now: Timestamp, retention: SignedDuration) -> Timestamp {
    now.saturating_sub(retention).unwrap_or(Timestamp::MIN)
}

fn parse_event(position: u64, value: Value) -> Result<Arc<Stored>, StorageError> {
    let event = serde_json::from_value(value);
    let event = event.map_err(|source| StorageError::ReadEvent { position, source })?;
    Ok(Arc::new(Stored { position, event }))
}
