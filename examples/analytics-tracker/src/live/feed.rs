//! The follower: new events from the storage to everybody who listens.

use std::{sync::Arc, time::Duration};

use forward_sdk::tracing;
use tokio::{
    sync::{Notify, broadcast, watch},
    time::sleep,
};

use crate::storage::{Storage, StorageError, Stored, within};

/// How many batches a stream may be behind before it is dropped.
const BACKLOG: usize = 256;
/// How many events are read at once.
const BATCH: usize = 200;
/// How long a storage that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one look at the storage may take.
const LOOK: Duration = Duration::from_secs(5);

/// All events after one position up to another.
#[derive(Clone, Debug)]
pub struct Batch {
    pub after: u64,
    pub events: Arc<[Arc<Stored>]>,
}

/// Where streams hear of new events.
#[derive(Clone)]
pub struct Feed {
    batches: broadcast::Sender<Batch>,
    wanted: Arc<Notify>,
}

impl Batch {
    /// The position up to which it goes.
    pub fn until(&self) -> u64 {
        self.events.last().map_or(self.after, |stored| stored.position)
    }
}

impl Feed {
    /// Starts the follower, which ends when `closing` says so.
    pub fn start(storage: Arc<dyn Storage>, mut closing: watch::Receiver<bool>) -> Self {
        let feed = Self { batches: broadcast::Sender::new(BACKLOG), wanted: Arc::default() };
        let follower = feed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = follower.follow(storage.as_ref()) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
        feed
    }

    /// What comes from now on; the first batch may be empty and tells where the follower is.
    pub fn subscribe(&self) -> broadcast::Receiver<Batch> {
        let batches = self.batches.subscribe();
        self.wanted.notify_one();
        batches
    }

    async fn follow(&self, storage: &dyn Storage) {
        let mut position = None;
        loop {
            if self.batches.receiver_count() == 0 {
                self.wanted.notified().await;
                position = None;
                continue;
            }
            if let Err(error) = self.step(storage, &mut position).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "new events cannot be followed");
                sleep(PAUSE).await;
            }
        }
    }

    async fn step(&self, storage: &dyn Storage, position: &mut Option<u64>) -> Result<(), StorageError> {
        let Some(after) = *position else {
            let after = within(LOOK, storage.extent()).await?.newest;
            *position = Some(after);
            self.send(Batch { after, events: Arc::default() });
            return Ok(());
        };
        let events = within(LOOK, storage.read(after, BATCH)).await?;
        if events.is_empty() {
            // A storage that waits for ever for an event does not keep a stream from leaving, but the
            // follower from noticing that the last one did.
            return match within(PAUSE, storage.await_after(after)).await {
                Err(StorageError::TimedOut(_)) => Ok(()),
                result => result,
            };
        }
        let batch = Batch { after, events: events.into() };
        *position = Some(batch.until());
        self.send(batch);
        Ok(())
    }

    fn send(&self, batch: Batch) {
        // An error says that nobody listens any more, which is no error.
        drop(self.batches.send(batch));
    }
}
