//! What the outside asks of the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The process's signal handlers.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A wish to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM: the kubelet's. Others still send requests.
    Drain,
    /// SIGINT: somebody at a terminal, who wants it now.
    Now,
}

impl Signals {
    /// From now on the signals no longer end the process. (They never did where it is process 1 of a
    /// container: such a process ignores what it does not handle.)
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next wish to end.
    pub async fn end(&mut self) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Drain,
            _ = self.interrupt.recv() => End::Now,
        }
    }
}
