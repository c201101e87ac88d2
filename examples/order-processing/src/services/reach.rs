//! Another plugin, and whether it answered last.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use forward_sdk::Dependency;
use http::{Request, header};
use serde::Serialize;

use crate::{outcome::Unclear, services::reply::Reply};

#[derive(Clone, Debug)]
pub struct Service {
    dependency: Dependency,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// The last call, and since when calls end as it did.
#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: bool,
    since: Instant,
}

/// Whether a plugin answered when it was called last. It is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    NotCalled,
    Answers,
    /// For so many seconds.
    Silent(u64),
}

impl Service {
    pub fn new(dependency: Dependency) -> Self {
        Self { dependency, seen: Arc::default() }
    }

    pub async fn get(&self, path: &str) -> Result<Reply, Unclear> {
        let request = Request::get(format!("{}{path}", self.dependency.url()));
        self.send(request.body(Bytes::new())).await
    }

    /// POSTs JSON; the key makes a repetition the same call.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &impl Serialize) -> Result<Reply, Unclear> {
        let body = serde_json::to_vec(body).map_err(unclear)?;
        let request = Request::post(format!("{}{path}", self.dependency.url()))
            .header(header::CONTENT_TYPE, "application/json");
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        self.send(request.body(body.into())).await
    }

    /// Its name, and how it answered last.
    pub fn reach(&self) -> (&str, Reach) {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let reach = match seen {
            None => Reach::NotCalled,
            Some(Seen { answered: true, .. }) => Reach::Answers,
            Some(Seen { answered: false, since }) => Reach::Silent(since.elapsed().as_secs()),
        };
        (self.dependency.name(), reach)
    }

    async fn send(&self, request: http::Result<Request<Bytes>>) -> Result<Reply, Unclear> {
        let request = request.map_err(unclear)?;
        let reply = self.dependency.send(request).await.map(Reply::new).map_err(unclear);
        self.note(reply.as_ref().is_ok_and(|reply| !reply.status.is_server_error()));
        reply
    }

    fn note(&self, answered: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|seen| seen.answered != answered) {
            *seen = Some(Seen { answered, since: Instant::now() });
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCalled => f.write_str("not called yet"),
            Self::Answers => f.write_str("answers"),
            Self::Silent(seconds) => write!(f, "has not answered for {seconds} s"),
        }
    }
}

fn unclear(error: impl fmt::Display) -> Unclear {
    Unclear(error.to_string())
}
