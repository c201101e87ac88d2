//! Where a plugin's process is in its life. Probes, the gate before the routes and the server all
//! derive what they do from this one value.

/// The phases, in the order in which a process goes through them; none comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The process is up and answers probes.
    Loaded,
    /// Initialize has succeeded.
    Initialized,
    /// Start has succeeded: ready for requests.
    Started,
    /// No longer ready, but serving as before, until everybody has noticed.
    Draining,
    /// Serving, with every answer the last one of its connection.
    Leaving,
    /// No new connections; requests under way are answered.
    Closed,
}

impl Phase {
    /// Whether the probe `initialized` passes.
    pub fn is_initialized(self) -> bool {
        self >= Self::Initialized
    }

    /// Whether the readiness probe passes.
    pub fn is_ready(self) -> bool {
        self == Self::Started
    }

    /// Whether requests are answered by the plugin.
    pub fn serves(self) -> bool {
        self >= Self::Started
    }

    /// Whether answers say that they are the last of their connection.
    pub fn says_goodbye(self) -> bool {
        self >= Self::Leaving
    }
}
