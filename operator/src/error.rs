//! What can go wrong in a reconciliation, each with a category and a retry class.

use prometheus_client::encoding::EncodeLabelValue;

/// Why a reconciliation did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{kind} {name:?} exists and does not belong to this plugin; rename the plugin or delete that object"
    )]
    ForeignObject { kind: &'static str, name: String },
    #[error("{kind} {name:?} of a deleted plugin of this name is not collected yet")]
    LeftBehind { kind: &'static str, name: String },
    #[error("the API server refused {kind} {name:?}: {message}")]
    Refused { kind: &'static str, name: String, message: String },
    #[error("{action} {kind} {name:?}")]
    Call { action: &'static str, kind: &'static str, name: String, source: kube::Error },
    #[error("{action} {kind} {name:?} took longer than {} s", crate::apply::TIMEOUT.as_secs())]
    Timeout { action: &'static str, kind: &'static str, name: String },
    #[error("build {kind} {name:?}")]
    Build { kind: &'static str, name: String, source: serde_json::Error },
}

/// Errors by what they mean: a metric's label and an event's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Category {
    /// The spec leads to an object that cannot be: waits for a change.
    Invalid,
    /// Somebody else writes at the same time.
    Conflict,
    /// The API server did not answer, or not in time.
    Transient,
}

/// Why a call to the API server failed: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Cause {
    /// It says no, to the object or to the operator.
    Refused,
    /// Somebody else wrote before.
    Conflict,
    /// It asks to be called less.
    Throttled,
    /// It failed itself.
    Server,
    /// It did not answer in time.
    Timeout,
    /// It was not reached, or its answer was none.
    Connection,
}

impl Error {
    /// The kind that a failed call to the API server was about, and why it failed; nothing where no
    /// call failed.
    pub fn api_call(&self) -> Option<(&'static str, Cause)> {
        match self {
            Self::ForeignObject { .. } | Self::LeftBehind { .. } | Self::Build { .. } => None,
            Self::Refused { kind, .. } => Some((kind, Cause::Refused)),
            Self::Timeout { kind, .. } => Some((kind, Cause::Timeout)),
            Self::Call { kind, source: kube::Error::Api(status), .. } => {
                let cause = match status.code {
                    409 => Cause::Conflict,
                    429 => Cause::Throttled,
                    500.. => Cause::Server,
                    _ => Cause::Refused,
                };
                Some((kind, cause))
            }
            Self::Call { kind, .. } => Some((kind, Cause::Connection)),
        }
    }

    pub fn category(&self) -> Category {
        match self {
            Self::ForeignObject { .. } | Self::Refused { .. } | Self::Build { .. } => Category::Invalid,
            Self::Call { source: kube::Error::Api(status), .. } if status.is_conflict() => Category::Conflict,
            Self::LeftBehind { .. } => Category::Conflict,
            Self::Call { .. } | Self::Timeout { .. } => Category::Transient,
        }
    }
}
