//! What ends a plugin's process before its time, in words for its status.

use std::{fmt, io, time::Duration};

use crate::{
    Error, config::ConfigError, duration, environment::EnvironmentError, panics::Panic, routes::RoutesError,
};

/// A verb that the plugin's author has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    BeforeLoad,
    AfterLoad,
    BeforeInitialize,
    Initialize,
    AfterInitialize,
    BeforeStart,
    Start,
    AfterStart,
    Reload,
    BeforeStop,
    Stop,
    AfterStop,
    OnError,
}

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("environment")]
    Environment(#[from] EnvironmentError),
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error("install the signal handlers")]
    Signals(#[source] io::Error),
    #[error("listen on port {port}")]
    Listen { port: u16, source: io::Error },
    #[error("serve")]
    Serve(#[source] io::Error),
    #[error("config")]
    Config(#[from] ConfigError),
    #[error("routes")]
    Routes(#[from] RoutesError),
    #[error("{verb} failed")]
    Failed { verb: Verb, source: Error },
    #[error("{verb} panicked")]
    Panicked { verb: Verb, source: Panic },
    #[error("the plugin's code panicked")]
    Panic(#[source] Panic),
    #[error("{verb} did not finish within {}", duration::display(*limit))]
    TimedOut { verb: Verb, limit: Duration },
}

impl Verb {
    /// The step of a plugin's life that it is, or belongs to.
    pub fn step(self) -> Self {
        match self {
            Self::BeforeLoad | Self::AfterLoad | Self::BeforeInitialize | Self::AfterInitialize => {
                Self::Initialize
            }
            Self::BeforeStart | Self::AfterStart => Self::Start,
            Self::BeforeStop | Self::AfterStop => Self::Stop,
            Self::Initialize | Self::Start | Self::Reload | Self::Stop | Self::OnError => self,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeLoad => "before_load",
            Self::AfterLoad => "after_load",
            Self::BeforeInitialize => "before_initialize",
            Self::Initialize => "initialize",
            Self::AfterInitialize => "after_initialize",
            Self::BeforeStart => "before_start",
            Self::Start => "start",
            Self::AfterStart => "after_start",
            Self::Reload => "reload",
            Self::BeforeStop => "before_stop",
            Self::Stop => "stop",
            Self::AfterStop => "after_stop",
            Self::OnError => "on_error",
        })
    }
}

/// An error with everything that caused it: `start failed: connect to "db": connection refused`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some errors already say what their source says.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_all_its_causes() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let failure = Failure::Listen { port: 80, source: refused };
        assert_eq!(chain(&failure), "listen on port 80: connection refused");
        let failure = Failure::Failed { verb: Verb::Start, source: "no database".into() };
        assert_eq!(chain(&failure), "start failed: no database");
    }

    #[test]
    fn a_timeout_tells_its_limit() {
        let failure = Failure::TimedOut { verb: Verb::Initialize, limit: Duration::from_secs(30) };
        assert_eq!(chain(&failure), "initialize did not finish within 30s");
    }
}
