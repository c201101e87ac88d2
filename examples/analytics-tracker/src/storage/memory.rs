//! The memory of the process: for trying things out, and for one pod. It forgets everything when it
//! ends, and the oldest events when there are too many.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Appended, Extent, Storage, StorageError, Stored, base_at, distinct};
use crate::{
    event::Event,
    query::{Answer, Evaluation, Query},
};

/// The most events.
const EVENTS: usize = 100_000;
/// The most that they take, in bytes of their JSON; in memory it is about three times as much.
const BYTES: usize = 16 << 20;

pub struct Memory {
    log: Mutex<Log>,
    newest: watch::Sender<u64>,
}

struct Log {
    base: u64,
    newest: u64,
    bytes: usize,
    entries: VecDeque<Entry>,
    ids: HashSet<String>,
}

struct Entry {
    stored: Arc<Stored>,
    bytes: usize,
    received: Timestamp,
}

impl Memory {
    pub fn new(now: Timestamp) -> Self {
        let base = base_at(now);
        let log = Log { base, newest: base, bytes: 0, entries: VecDeque::new(), ids: HashSet::new() };
        Self { log: Mutex::new(log), newest: watch::Sender::new(base) }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // No step of a change can panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn append(&mut self, event: Event, received: Timestamp) -> Result<bool, StorageError> {
        if let Some(id) = &event.id
            && !self.ids.insert(id.clone())
        {
            return Ok(false);
        }
        let bytes = serde_json::to_vec(&event).map_err(StorageError::WriteEvents)?.len();
        self.newest += 1;
        self.bytes += bytes;
        let stored = Arc::new(Stored { position: self.newest, event });
        self.entries.push_back(Entry { stored, bytes, received });
        while self.entries.len() > EVENTS || self.bytes > BYTES {
            self.forget_oldest();
        }
        Ok(true)
    }

    fn forget_oldest(&mut self) {
        if let Some(Entry { stored, bytes, .. }) = self.entries.pop_front() {
            self.bytes -= bytes;
            if let Some(id) = &stored.event.id {
                self.ids.remove(id);
            }
        }
    }

    fn oldest(&self) -> u64 {
        self.newest + 1 - self.entries.len() as u64
    }

    fn extent(&self) -> Extent {
        Extent { base: self.base, oldest: self.oldest(), newest: self.newest }
    }

    fn after(&self, position: u64, limit: usize) -> Vec<Arc<Stored>> {
        let skipped = (position + 1).saturating_sub(self.oldest());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).take(limit).map(|entry| entry.stored.clone()).collect()
    }
}

impl Storage for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Appended, StorageError>> {
        Box::pin(async move {
            let (events, mut duplicates) = distinct(events);
            let (mut accepted, now) = (0, Timestamp::now());
            let mut log = self.log();
            for event in events {
                if log.append(event, now)? { accepted += 1 } else { duplicates += 1 }
            }
            self.newest.send_replace(log.newest);
            Ok(Appended { accepted, duplicates })
        })
    }

    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, StorageError>> {
        Box::pin(async move {
            // Nobody waits for the answer to be calculated but whoever asked.
            let events = self.log().after(0, usize::MAX);
            let mut evaluation = Evaluation::new(query);
            events.iter().for_each(|stored| evaluation.add(&stored.event));
            Ok(evaluation.finish())
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, StorageError>> {
        Box::pin(async move { Ok(self.log().after(after, limit)) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Extent, StorageError>> {
        Box::pin(async move { Ok(self.log().extent()) })
    }

    fn await_after(&self, position: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let mut newest = self.newest.subscribe();
            // The sender lives as long as `self`.
            drop(newest.wait_for(|newest| *newest > position).await);
            Ok(())
        })
    }

    fn forget_before(&self, moment: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let mut log = self.log();
            let mut forgotten = 0;
            while log.entries.front().is_some_and(|entry| entry.received < moment) {
                log.forget_oldest();
                forgotten += 1;
            }
            Ok(forgotten)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: usize, padding: usize) -> Event {
        serde_json::from_value(json!({
            "id": id.to_string(), "type": "a", "properties": {"padding": "x".repeat(padding)},
            "timestamp": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many() {
        let memory = Memory::new(Timestamp::UNIX_EPOCH);
        memory.append((0..EVENTS + 3).map(|id| event(id, 0)).collect()).await.unwrap();
        let extent = memory.extent().await.unwrap();
        assert_eq!((extent.kept(), extent.forgotten()), (EVENTS as u64, 3));
        assert_eq!(memory.read(0, 1).await.unwrap()[0].position, 4);
        let again = memory.append(vec![event(3, 0), event(4, 0), event(0, 0)]).await.unwrap();
        assert_eq!(again, Appended { accepted: 1, duplicates: 2 }, "with an event goes its id");
    }

    #[tokio::test]
    async fn the_oldest_go_when_they_are_too_large() {
        let memory = Memory::new(Timestamp::UNIX_EPOCH);
        memory.append((0..1_100).map(|id| event(id, 16_000)).collect()).await.unwrap();
        let extent = memory.extent().await.unwrap();
        assert!(extent.kept() < 1_050 && extent.kept() > 1_000, "{extent:?}");
        assert_eq!(extent.newest, 1_100);
    }

    #[tokio::test]
    async fn what_is_too_old_goes() {
        let memory = Memory::new(Timestamp::UNIX_EPOCH);
        memory.append(vec![event(1, 0), event(2, 0)]).await.unwrap();
        assert_eq!(memory.forget_before(Timestamp::UNIX_EPOCH).await.unwrap(), 0);
        assert_eq!(memory.forget_before(Timestamp::MAX).await.unwrap(), 2);
        assert_eq!(memory.extent().await.unwrap(), Extent { base: 0, oldest: 3, newest: 2 });
    }
}
