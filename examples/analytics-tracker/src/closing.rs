//! Whether the plugin is about to go: streams of events are answers without an end, and must hear
//! of it.

use forward_sdk::Context;
use tokio::sync::watch;

/// Becomes true when the plugin is about to go.
pub fn watch(context: &Context) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let context = context.clone();
    tokio::spawn(async move {
        context.leaving().await;
        sender.send_replace(true);
        // Whoever waits for a change must not take the end of the sender for one.
        sender.closed().await;
    });
    receiver
}
