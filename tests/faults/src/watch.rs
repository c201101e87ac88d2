//! The events of a watch on their way, and what happens to them there.

use futures::{Stream, StreamExt, stream};
use hyper::body::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::plan::Disturbance;

/// What the API server says to a watch whose place in history is no longer known.
const EXPIRED: &[u8] = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}
"#;
/// Events that are on their way at most; then the API server waits.
const ON_THE_WAY: usize = 4_096;

/// Pass on the events that come in `chunks`, of which `disturb` says for each what happens to it.
/// None is passed by: what comes late holds up what is behind it.
pub fn disturbed<E: Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    disturb: impl FnMut() -> Option<Disturbance> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    tokio::spawn(pass_on(chunks, disturb, sender));
    stream::unfold(receiver, |mut receiver| async move {
        let (due, event) = receiver.recv().await?;
        sleep_until(due).await;
        Some((event, receiver))
    })
}

/// Ends with the watch, or with the one who follows it.
async fn pass_on<E>(
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    mut disturb: impl FnMut() -> Option<Disturbance>,
    sender: mpsc::Sender<(Instant, Result<Bytes, E>)>,
) -> Option<()> {
    let mut rest = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk?,
            () = sender.closed() => return None,
        };
        match chunk {
            Ok(chunk) => rest.extend_from_slice(&chunk),
            Err(error) => sender.send((Instant::now(), Err(error))).await.ok()?,
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let event = Bytes::from(rest.drain(..=end).collect::<Vec<_>>());
            let now = Instant::now();
            let (due, events, goes_on) = match disturb() {
                None => (now, vec![event], true),
                Some(Disturbance::Delay(by)) => (now + by, vec![event], true),
                Some(Disturbance::Repeat) => (now, vec![event.clone(), event], true),
                Some(Disturbance::Expire) => (now, vec![Bytes::from_static(EXPIRED)], false),
                Some(Disturbance::Close) => (now, Vec::new(), false),
            };
            for event in events {
                sender.send((due, Ok(event))).await.ok()?;
            }
            if !goes_on {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;

    /// What comes of events in two chunks that do not end where events do.
    async fn pass(fates: &[Option<Disturbance>]) -> String {
        let chunks = ["one\ntw", "o\nthree\n"].map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk)));
        let fates = fates.to_vec();
        let mut fates = fates.into_iter();
        let events = disturbed(stream::iter(chunks), move || fates.next().flatten());
        let events: Vec<_> =
            events.map(|event| String::from_utf8(event.unwrap().to_vec()).unwrap()).collect().await;
        events.concat().replace('\n', " ")
    }

    #[tokio::test(start_paused = true)]
    async fn events_come_late_twice_or_not_at_all() {
        assert_eq!(pass(&[]).await, "one two three ");
        assert_eq!(pass(&[None, Some(Disturbance::Repeat)]).await, "one two two three ");
        assert_eq!(pass(&[None, Some(Disturbance::Close)]).await, "one ");
        assert!(pass(&[Some(Disturbance::Expire)]).await.contains("\"code\":410"));
        let begin = Instant::now();
        let late = Some(Disturbance::Delay(Duration::from_secs(3)));
        assert_eq!(pass(&[None, late, None]).await, "one two three ");
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
    }
}
