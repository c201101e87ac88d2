//! The calls that stand-ins know, and what can go wrong with each.

/// A call of another plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Check,
    Charge,
    Find,
    Refund,
    Reserve,
    Commit,
    Release,
    Track,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the answer is this status with this code.
    Answer(u16, &'static str),
    /// It is done, and the answer is 500.
    AnswerLost,
    /// Nothing happens, and there is no answer.
    HeldBefore,
    /// It is done, and there is no answer.
    HeldAfter,
}

impl Call {
    /// The call that a path stands for.
    pub fn of(method: &str, path: &str) -> Self {
        match (method, path.rsplit('/').next().unwrap()) {
            ("POST", "availability") => Self::Check,
            ("POST", "process") => Self::Charge,
            ("GET", "payments") => Self::Find,
            ("POST", "refund") => Self::Refund,
            ("POST", "reservations") => Self::Reserve,
            ("POST", "commit") => Self::Commit,
            ("POST", "release") => Self::Release,
            ("POST", "track") => Self::Track,
            _ => panic!("nobody should call {method} {path}"),
        }
    }
}
