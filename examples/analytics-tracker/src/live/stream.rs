//! One stream: what its reader missed, from the storage; then what comes, from the feed.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use forward_sdk::{axum::response::sse::Event as Message, tracing};
use futures::Stream;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, mpsc, watch},
    time::{Instant, interval_at, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    feed::{Batch, Feed},
    resume::{Beginning, Gap, begin},
};
use crate::{
    metrics::Metrics,
    storage::{Storage, StorageError, Stored, within},
};

/// How many messages wait for a reader.
const WAITING: usize = 64;
/// How long a reader may take none; then it is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a stream says that it is alive, and where it is.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader waits before it comes back.
const RETRY: Duration = Duration::from_secs(1);
/// How many events are read from the storage at once.
const PAGE: usize = 500;
/// How long one look at the storage may take.
const LOOK: Duration = Duration::from_secs(5);

/// What a reader wants.
#[derive(Debug)]
pub struct Options {
    /// The position up to which it has seen everything.
    pub seen: Option<u64>,
    /// The types that it wants; all when there are none.
    pub types: BTreeSet<String>,
}

/// What streams share, and one's place among them.
pub struct Listening {
    pub storage: Arc<dyn Storage>,
    pub feed: Feed,
    pub metrics: Metrics,
    pub closing: watch::Receiver<bool>,
    pub place: OwnedSemaphorePermit,
}

/// Why a stream ended.
#[derive(Debug)]
enum End {
    Left,
    TooSlow,
    Storage(StorageError),
}

struct Writer {
    options: Options,
    messages: mpsc::Sender<Result<Message, Infallible>>,
    /// The last position that was shown or passed over.
    position: u64,
}

/// Opens a stream. It ends when its reader leaves or is too slow, when the storage is away for it, and
/// when the plugin is about to end; its reader comes back by itself and goes on where it was.
///
/// # Errors
/// When the storage is away.
pub async fn listen(
    listening: Listening,
    options: Options,
) -> Result<impl Stream<Item = Result<Message, Infallible>> + Send + use<>, StorageError> {
    // First the feed, then the storage: what comes between the two is in both.
    let batches = listening.feed.subscribe();
    let extent = within(LOOK, listening.storage.extent()).await?;
    let beginning = begin(options.seen, extent);
    let (messages, reader) = mpsc::channel(WAITING);
    let writer = Writer { options, messages, position: beginning.after };
    tokio::spawn(write(listening, batches, writer, beginning));
    Ok(ReceiverStream::new(reader))
}

async fn write(
    listening: Listening,
    batches: broadcast::Receiver<Batch>,
    mut writer: Writer,
    beginning: Beginning,
) {
    let Listening { storage, metrics, mut closing, place, .. } = listening;
    metrics.streams.inc();
    let messages = writer.messages.clone();
    let end = tokio::select! {
        Err(end) = writer.run(storage.as_ref(), batches, beginning) => end,
        () = messages.closed() => End::Left,
        _ = closing.wait_for(|closing| *closing) => End::Left,
    };
    match end {
        End::Left => {}
        End::TooSlow => {
            metrics.streams_dropped.inc();
            tracing::info!("a stream was dropped, as its reader is too slow");
        }
        End::Storage(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a stream ended without its storage");
        }
    }
    metrics.streams.dec();
    drop(place);
}

impl Writer {
    async fn run(
        &mut self,
        storage: &dyn Storage,
        mut batches: broadcast::Receiver<Batch>,
        beginning: Beginning,
    ) -> Result<Infallible, End> {
        self.greet(beginning).await?;
        self.catch_up(storage, u64::MAX).await?;
        let mut heartbeats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            tokio::select! {
                batch = batches.recv() => self.pass_on(storage, batch).await?,
                _ = heartbeats.tick() => {
                    self.send(Message::default().id(self.position.to_string()).comment("alive")).await?;
                }
            }
        }
    }

    /// Tells the reader when to come back, where it is, and what it has missed for good: the latter two
    /// in one message, so that no gap is told twice or never.
    async fn greet(&mut self, Beginning { after, gap }: Beginning) -> Result<(), End> {
        let hello = Message::default().retry(RETRY).id(after.to_string()).comment("welcome");
        let missing = match gap {
            None => return self.send(hello).await,
            Some(Gap::Missing(missing)) => json!({"missing": missing}),
            Some(Gap::Unknown) => json!({"missing": null}),
        };
        self.send(hello.event("gap").data(missing.to_string())).await
    }

    /// Shows what the storage has up to a position.
    async fn catch_up(&mut self, storage: &dyn Storage, until: u64) -> Result<(), End> {
        while self.position < until {
            let events = within(LOOK, storage.read(self.position, PAGE)).await.map_err(End::Storage)?;
            for stored in &events {
                self.show(stored).await?;
            }
            if events.len() < PAGE {
                break;
            }
        }
        Ok(())
    }

    async fn pass_on(
        &mut self,
        storage: &dyn Storage,
        batch: Result<Batch, broadcast::error::RecvError>,
    ) -> Result<(), End> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(broadcast::error::RecvError::Lagged(_)) => return Err(End::TooSlow),
            Err(broadcast::error::RecvError::Closed) => return Err(End::Left),
        };
        // The follower began later than this stream.
        self.catch_up(storage, batch.after).await?;
        for stored in batch.events.iter() {
            if stored.position > self.position {
                self.show(stored).await?;
            }
        }
        Ok(())
    }

    async fn show(&mut self, stored: &Stored) -> Result<(), End> {
        let is_wanted = self.options.types.is_empty() || self.options.types.contains(&stored.event.kind);
        self.position = stored.position;
        if !is_wanted {
            return Ok(());
        }
        let data = json!(stored).to_string();
        self.send(Message::default().id(stored.position.to_string()).data(data)).await
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        match timeout(PATIENCE, self.messages.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::TooSlow),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::storage::Memory;

    async fn memory(types: &[&str]) -> Memory {
        let memory = Memory::new(Timestamp::UNIX_EPOCH);
        let events = types.iter().map(|kind| json!({"type": kind, "timestamp": "2026-01-01T00:00:00Z"}));
        memory.append(events.map(|event| serde_json::from_value(event).unwrap()).collect()).await.unwrap();
        memory
    }

    fn writer(position: u64, types: &[&str]) -> (Writer, mpsc::Receiver<Result<Message, Infallible>>) {
        let types = types.iter().map(ToString::to_string).collect();
        let (messages, reader) = mpsc::channel(WAITING);
        (Writer { options: Options { seen: None, types }, messages, position }, reader)
    }

    /// How many messages wait.
    fn waiting(reader: &mut mpsc::Receiver<Result<Message, Infallible>>) -> usize {
        std::iter::from_fn(|| reader.try_recv().ok()).count()
    }

    #[tokio::test]
    async fn what_came_before_the_follower_is_caught_up_with() {
        let memory = memory(&["a", "b", "c", "d"]).await;
        let (mut writer, mut reader) = writer(1, &[]);
        let begun = Batch { after: 3, events: Arc::default() };
        writer.pass_on(&memory, Ok(begun)).await.unwrap();
        assert_eq!((writer.position, waiting(&mut reader)), (4, 3), "b, c, and d that came just now");
        let late = Batch { after: 3, events: memory.read(3, 10).await.unwrap().into() };
        writer.pass_on(&memory, Ok(late)).await.unwrap();
        assert_eq!((writer.position, waiting(&mut reader)), (4, 0), "d is not shown twice");
    }

    #[tokio::test]
    async fn what_is_not_wanted_is_passed_over() {
        let memory = memory(&["a", "b", "a"]).await;
        let (mut writer, mut reader) = writer(0, &["b"]);
        writer.catch_up(&memory, u64::MAX).await.unwrap();
        assert_eq!((writer.position, waiting(&mut reader)), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_too_slow() {
        let memory = memory(&["a"; WAITING + 1]).await;
        let (mut writer, _reader) = writer(0, &[]);
        assert!(matches!(writer.catch_up(&memory, u64::MAX).await, Err(End::TooSlow)));
        let lagged = Err(broadcast::error::RecvError::Lagged(1));
        assert!(matches!(writer.pass_on(&memory, lagged).await, Err(End::TooSlow)));
    }
}
