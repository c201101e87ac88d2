//! Requests' bodies as clients send them, and whole ones for who has to see them.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{clock::Clock, problem::Problem};

/// How many bytes of gathered bodies there may be in one process, whoever sends them.
pub const GATHERED: usize = 64 * 1024 * 1024;

/// A request's body as the client sends it.
#[derive(Debug)]
pub enum Inflow {
    Coming(Incoming),
    /// All of it is here, since somebody had to see it, with its share of what may be.
    Gathered(Bytes, OwnedSemaphorePermit),
}

impl Inflow {
    /// All of it, where it has at most so many bytes and comes in time. `room` is what all of them may
    /// hold; `None` where there is not enough of it.
    pub async fn gather(
        &mut self,
        most: u64,
        room: &Arc<Semaphore>,
        clock: &Rc<Clock>,
        patience: Duration,
    ) -> Result<Option<Bytes>, Problem> {
        self.check(Some(most))?;
        let incoming = match self {
            Self::Gathered(bytes, _) => return Ok(Some(bytes.clone())),
            Self::Coming(incoming) => incoming,
        };
        if incoming.size_hint().lower() > most {
            return Err(Problem::ContentTooLarge(most));
        }
        // For what has come, and not for what is said to come: else it would be enough to say so.
        let take = |bytes: usize| {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            room.clone().try_acquire_many_owned(bytes).ok()
        };
        let Some(mut held) = take(0) else { return Ok(None) };
        let mut late = clock.after(patience);
        // One buffer: a body may come in as many pieces as it has bytes.
        let mut gathered = BytesMut::new();
        let is_whole = poll_fn(|cx| {
            loop {
                match Pin::new(&mut *incoming).poll_frame(cx) {
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Some(Ok(frame))) => {
                        let Ok(data) = frame.into_data() else { continue };
                        if (gathered.len() + data.len()) as u64 > most {
                            return Poll::Ready(Err(Problem::ContentTooLarge(most)));
                        }
                        let Some(more) = take(data.len()) else { return Poll::Ready(Ok(false)) };
                        held.merge(more);
                        gathered.extend_from_slice(&data);
                    }
                    Poll::Ready(Some(Err(_))) => {
                        return Poll::Ready(Err(Problem::BadRequest("the request's body is not valid HTTP")));
                    }
                    Poll::Pending => {
                        return Pin::new(&mut late).poll(cx).map(|()| Err(Problem::RequestTimeout));
                    }
                }
            }
        })
        .await?;
        if !is_whole {
            return Ok(None);
        }
        let bytes = gathered.freeze();
        *self = Self::Gathered(bytes.clone(), held);
        Ok(Some(bytes))
    }

    /// Whether it is known that there is none.
    pub fn is_none(&self) -> bool {
        match self {
            Self::Coming(incoming) => incoming.is_end_stream(),
            Self::Gathered(bytes, _) => bytes.is_empty(),
        }
    }

    /// What is here must not have more bytes than may be; what comes is watched on its way.
    pub fn check(&self, most: Option<u64>) -> Result<(), Problem> {
        match (self, most) {
            (Self::Gathered(bytes, _), Some(most)) if bytes.len() as u64 > most => {
                Err(Problem::ContentTooLarge(most))
            }
            _ => Ok(()),
        }
    }
}
