//! PostgreSQL: one table. What a question means there is [`statement`]'s.

mod statement;

use std::{sync::Arc, time::Duration};

use forward_sdk::tracing;
use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use serde_json::{Map, Value};
use sqlx::{PgPool, Row, postgres::PgRow, types::Json};
use tokio::time::sleep;

use super::{Appended, Extent, Storage, StorageError, Stored, distinct};
use crate::{
    event::Event,
    query::{Answer, Query},
};

const SCHEMA: &str = include_str!("schema.sql");

/// Under this lock events are appended, one transaction after the other: else the number of one
/// that commits late would stand before numbers that a follower has already passed.
const APPENDING: i64 = 0x616e_616c_7974_6963;

/// How long a question may take; longer, and it would take the database from everybody else.
const QUESTION: Duration = Duration::from_secs(4);
/// How often the table is looked at while somebody follows.
const POLL: Duration = Duration::from_millis(250);
/// How many events are forgotten in one transaction.
const FORGOTTEN: i64 = 5_000;

/// The order of the batch is the order of the positions. An id that is known takes no position.
const APPEND: &str = "
    INSERT INTO events (id, type, user_id, session_id, properties, occurred_at)
    SELECT e.id, e.type, e.user_id, e.session_id, coalesce(e.properties, '{}'), e.timestamp
    FROM ROWS FROM (jsonb_to_recordset($1) AS
        (id text, type text, user_id text, session_id text, properties jsonb, timestamp timestamptz))
        WITH ORDINALITY AS e (id, type, user_id, session_id, properties, timestamp, place)
    WHERE NOT EXISTS (SELECT FROM events known WHERE known.id = e.id)
    ORDER BY e.place";

const READ: &str = "
    SELECT seq, id, type, user_id, session_id, properties, occurred_at
    FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";

/// The newest event stays, for its position: what comes next must have a higher one.
const FORGET: &str = "
    DELETE FROM events
    WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT $2)
      AND received_at < $1 AND seq < (SELECT max(seq) FROM events)";

const EXTENT: &str = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM events";

pub struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub async fn connect(url: &str) -> Result<Self, example_database::ConnectError> {
        Ok(Self { pool: example_database::connect(url, "analytics", SCHEMA).await? })
    }

    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, sqlx::Error> {
        let total = events.len();
        let (events, _) = distinct(events);
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(APPENDING).execute(&mut *transaction).await?;
        let inserted = sqlx::query(APPEND).bind(Json(events)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        let accepted = usize::try_from(inserted.rows_affected()).unwrap_or(total);
        Ok(Appended { accepted, duplicates: total - accepted })
    }

    async fn answer(&self, query: &Query) -> Result<Answer, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let limit = QUESTION.as_millis().to_string();
        let restrict = "SELECT set_config('statement_timeout', $1, true)";
        sqlx::query(restrict).bind(limit).execute(&mut *transaction).await?;
        let mut statement = statement::build(query);
        let rows = statement.build().fetch_all(&mut *transaction).await?;
        statement::read(query, &rows)
    }

    async fn forget(&self, moment: Timestamp) -> Result<u64, sqlx::Error> {
        let mut forgotten = 0;
        loop {
            let batch =
                sqlx::query(FORGET).bind(moment.to_sqlx()).bind(FORGOTTEN).execute(&self.pool).await?;
            forgotten += batch.rows_affected();
            if batch.rows_affected() < FORGOTTEN.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }
}

impl Storage for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Appended, StorageError>> {
        Box::pin(async move { self.append_events(events).await.map_err(StorageError::AskPostgres) })
    }

    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, StorageError>> {
        Box::pin(async move { self.answer(query).await.map_err(too_slow) })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, StorageError>> {
        Box::pin(async move {
            let (after, limit) = (signed(after), i64::try_from(limit).unwrap_or(i64::MAX));
            let rows = sqlx::query(READ).bind(after).bind(limit).fetch_all(&self.pool).await;
            let stored: Result<Vec<_>, _> = rows.and_then(|rows| rows.iter().map(stored).collect());
            stored.map_err(StorageError::AskPostgres)
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Extent, StorageError>> {
        Box::pin(async move {
            let row = sqlx::query_as::<_, (i64, i64)>(EXTENT).fetch_one(&self.pool).await;
            let (oldest, newest) = row.map_err(StorageError::AskPostgres)?;
            Ok(Extent { base: 0, oldest: oldest.unsigned_abs(), newest: newest.unsigned_abs() })
        })
    }

    fn await_after(&self, _: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            sleep(POLL).await;
            Ok(())
        })
    }

    fn forget_before(&self, moment: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move { self.forget(moment).await.map_err(StorageError::AskPostgres) })
    }
}

fn stored(row: &PgRow) -> Result<Arc<Stored>, sqlx::Error> {
    let Json(properties) = row.try_get::<Json<Map<String, Value>>, _>(5)?;
    let event = Event {
        id: row.try_get(1)?,
        kind: row.try_get(2)?,
        user_id: row.try_get(3)?,
        session_id: row.try_get(4)?,
        properties,
        timestamp: row.try_get::<SqlTimestamp, _>(6)?.to_jiff(),
    };
    Ok(Arc::new(Stored { position: row.try_get::<i64, _>(0)?.unsigned_abs(), event }))
}

/// A position that no `bigint` holds is behind every event.
fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn too_slow(error: sqlx::Error) -> StorageError {
    /// `query_canceled`
    const CANCELED: &str = "57014";
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code == CANCELED => {
            tracing::info!("a question was broken off");
            StorageError::QueryTooSlow(QUESTION)
        }
        _ => StorageError::AskPostgres(error),
    }
}
