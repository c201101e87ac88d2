//! What another plugin answered.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use crate::outcome::{Answer, Blame, Outcome, Reason, Refusal, Unclear};

/// A whole answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    body: Bytes,
}

/// What of a problem (RFC 9457) matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    status: u16,
    pub code: String,
    detail: String,
    errors: Vec<Blame>,
}

impl Reply {
    pub fn new(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, body }
    }

    /// The body as what it should be, or why the answer says nothing.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Unclear> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Unclear(format!("it answered {} with what cannot be read: {error}", self.status))
        })
    }

    /// The body as a problem; one without members where it is none.
    pub fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether the plugin itself said it, as a problem, rather than something on the way to it.
    pub fn is_problem(&self) -> bool {
        self.problem().status == self.status.as_u16()
    }

    /// For an answer that the interface does not make final.
    pub fn says_nothing(&self) -> Unclear {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        Unclear(format!("it answered {}: {body}", self.status))
    }
}

impl Problem {
    /// A refusal with the problem's own words. `place` translates pointers into what was sent into
    /// those into the order; what has no place there is left to the words.
    pub fn refusal(self, reason: Reason, place: impl Fn(&str) -> Option<String>) -> Answer {
        let Self { detail, errors, status: _, code: _ } = self;
        let blame = |blame: Blame| Some(Blame { pointer: place(&blame.pointer)?, ..blame });
        let errors = errors.into_iter().filter_map(blame).collect();
        Outcome::Refused(Refusal::new(reason, detail).blaming(errors)).into()
    }
}

#[cfg(test)]
impl Reply {
    pub fn example(status: u16, body: &serde_json::Value) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), body: body.to_string().into() }
    }
}
