//! Redis: one stream, whose ids are the positions; one key for each id that was seen, which expires.
//!
//! What a script does becomes visible at once, so positions become visible in order.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use redis::{
    Client, FromRedisValue, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
    streams::{StreamId, StreamRangeReply, StreamReadReply},
};
use tokio::time::{Instant, sleep};

use super::{Appended, Extent, Storage, StorageError, Stored, base_at, distinct, parse_event};
use crate::{
    event::Event,
    query::{Answer, Evaluation, Query},
};

/// The keys share a tag, and so a slot of a cluster.
const STREAM: &str = "{analytics}:events";
const NUMBERS: &str = "{analytics}:numbers";
const ID: &str = "{analytics}:id:";
const APPEND: &str = include_str!("append.lua");

/// The most events that are kept: about 100 MB of usual ones.
const EVENTS: usize = 200_000;
/// How many events are read at once.
const PAGE: usize = 2_000;
/// How long one command may take.
const RESPONSE: Duration = Duration::from_secs(2);
/// How long a follower's command waits for an event; less than `RESPONSE`.
const BLOCK: Duration = Duration::from_secs(1);
/// How long a Redis that is still starting is waited for.
const STARTING: Duration = Duration::from_secs(20);

pub struct Redis {
    shared: ConnectionManager,
    /// A connection whose commands wait holds up the others on it.
    following: ConnectionManager,
    retention: SignedDuration,
}

impl Redis {
    pub async fn connect(url: &str, retention: SignedDuration) -> Result<Self, StorageError> {
        let client = Client::open(url).map_err(StorageError::AskRedis)?;
        let config = || {
            ConnectionManagerConfig::new()
                .set_connection_timeout(Some(RESPONSE))
                .set_response_timeout(Some(RESPONSE))
                .set_number_of_retries(1)
                .set_max_delay(Duration::from_millis(500))
        };
        let lazy = |client: Client| ConnectionManager::new_lazy_with_config(client, config());
        let shared = lazy(client.clone()).map_err(StorageError::AskRedis)?;
        let following = lazy(client).map_err(StorageError::AskRedis)?;
        let redis = Self { shared, following, retention };
        let begin = Instant::now();
        loop {
            match redis.ask::<String>(redis::cmd("PING")).await {
                Ok(_) => return Ok(redis),
                Err(error) if begin.elapsed() > STARTING => return Err(error),
                Err(_) => sleep(Duration::from_millis(250)).await,
            }
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, StorageError> {
        let mut connection = self.shared.clone();
        command.query_async(&mut connection).await.map_err(StorageError::AskRedis)
    }

    /// A page of the stream from just after a position.
    async fn page(&self, after: u64, limit: usize) -> Result<Vec<StreamId>, StorageError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(STREAM).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(limit);
        Ok(self.ask::<StreamRangeReply>(command).await?.ids)
    }

    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, StorageError> {
        let total = events.len();
        let (events, _) = distinct(events);
        let mut command = redis::cmd("EVAL");
        command.arg(APPEND).arg(events.len() + 2).arg(STREAM).arg(NUMBERS);
        for event in &events {
            match &event.id {
                Some(id) => command.arg(format!("{ID}{id}")),
                None => command.arg(STREAM),
            };
        }
        let retention = self.retention.as_millis();
        command.arg(base_at(Timestamp::now())).arg(EVENTS).arg(i64::try_from(retention).unwrap_or(i64::MAX));
        for event in &events {
            command.arg(serde_json::to_string(event).map_err(StorageError::WriteEvents)?);
        }
        let accepted = self.ask::<usize>(command).await?;
        Ok(Appended { accepted, duplicates: total - accepted })
    }

    async fn evaluate(&self, query: &Query) -> Result<Answer, StorageError> {
        let mut evaluation = Evaluation::new(query);
        let mut after = 0;
        loop {
            let page = self.page(after, PAGE).await?;
            for entry in &page {
                let stored = stored(entry)?;
                after = stored.position;
                evaluation.add(&stored.event);
            }
            if page.len() < PAGE {
                return Ok(evaluation.finish());
            }
        }
    }

    async fn forget(&self, moment: Timestamp) -> Result<u64, StorageError> {
        let mut forgotten = 0;
        loop {
            let page = self.page(0, PAGE).await?;
            let old = page.iter().take_while(|entry| received(entry) < moment.as_millisecond()).last();
            let Some(last) = old else { return Ok(forgotten) };
            let mut command = redis::cmd("XTRIM");
            command.arg(STREAM).arg("MINID").arg(format!("{}-0", position(last)? + 1));
            forgotten += self.ask::<u64>(command).await?;
        }
    }

    async fn measure(&self) -> Result<Extent, StorageError> {
        let mut both = redis::pipe();
        // One transaction: an event between the two would belong to one of them only.
        both.atomic().hget(NUMBERS, "base").hget(NUMBERS, "newest").xlen(STREAM);
        let mut connection = self.shared.clone();
        let answer: RedisResult<(Option<u64>, Option<u64>, u64)> = both.query_async(&mut connection).await;
        let (base, newest, length) = answer.map_err(StorageError::AskRedis)?;
        let (base, newest) = (base.unwrap_or_default(), newest.unwrap_or_default());
        Ok(Extent { base, oldest: (newest + 1).saturating_sub(length), newest })
    }
}

impl Storage for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Appended, StorageError>> {
        Box::pin(self.append_events(events))
    }

    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, StorageError>> {
        Box::pin(self.evaluate(query))
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, StorageError>> {
        Box::pin(async move { self.page(after, limit).await?.iter().map(stored).collect() })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Extent, StorageError>> {
        Box::pin(self.measure())
    }

    fn await_after(&self, position: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis().to_string());
            command.arg("STREAMS").arg(STREAM).arg(format!("{position}-0"));
            let mut connection = self.following.clone();
            let answer: RedisResult<Option<StreamReadReply>> = command.query_async(&mut connection).await;
            answer.map(drop).map_err(StorageError::AskRedis)
        })
    }

    fn forget_before(&self, moment: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(self.forget(moment))
    }
}

fn position(entry: &StreamId) -> Result<u64, StorageError> {
    let position = entry.id.split('-').next().and_then(|number| number.parse().ok());
    position.ok_or_else(|| {
        let kind = redis::ErrorKind::UnexpectedReturnType;
        StorageError::AskRedis(RedisError::from((kind, "an entry's id is not a position")))
    })
}

fn received(entry: &StreamId) -> i64 {
    entry.get("at").unwrap_or_default()
}

fn stored(entry: &StreamId) -> Result<Arc<Stored>, StorageError> {
    let position = position(entry)?;
    let text: String = entry.get("event").unwrap_or_default();
    let value = serde_json::from_str(&text);
    parse_event(position, value.map_err(|source| StorageError::ReadEvent { position, source })?)
}
