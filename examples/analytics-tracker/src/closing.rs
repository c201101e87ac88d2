//! Whether the plugin has been asked to end.
//!
//! `stop` comes after the last answer, and a stream of events is an answer without an end: streams
//! must hear of it before.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Becomes true with the first SIGTERM or SIGINT. The SDK hears the same signals.
pub fn watch() -> io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Whoever waits for a change must not take the end of the sender for one.
        sender.closed().await;
    });
    Ok(receiver)
}
