//! Requests' bodies as clients send them, and whole ones for who has to see them.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{clock::Deadline, problem::Problem};

/// How many bytes of gathered bodies there may be in one process, whoever sends them.
pub const GATHERED: usize = 64 * 1024 * 1024;
/// How many of them may be for one plugin, so that its clients leave room for others.
pub const GATHERED_FOR_ONE: usize = GATHERED / 8;

/// What gathered bodies may take, in bytes.
#[derive(Clone, Debug)]
pub struct Room {
    /// All of them.
    pub all: Arc<Semaphore>,
    /// Those for one plugin.
    pub own: Arc<Semaphore>,
}

/// A part of the room, until it is dropped.
#[derive(Debug)]
pub struct Held {
    all: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
}

/// Bytes that hold their part of the room until the last copy of them is dropped: also where somebody
/// has taken them who has yet to send them.
struct Kept {
    bytes: Bytes,
    _held: Held,
}

/// A request's body as the client sends it.
#[derive(Debug)]
pub enum Inflow {
    Coming(Incoming),
    /// All of it is here, since somebody had to see it.
    Gathered(Bytes),
}

impl Room {
    /// So many bytes of it, if they are left.
    pub fn take(&self, bytes: usize) -> Option<Held> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let of = |room: &Arc<Semaphore>| room.clone().try_acquire_many_owned(bytes).ok();
        Some(Held { own: of(&self.own)?, all: of(&self.all)? })
    }
}

impl Held {
    fn merge(&mut self, more: Self) {
        self.all.merge(more.all);
        self.own.merge(more.own);
    }

    /// Bytes that hold this until they are dropped.
    fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _held: self })
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Inflow {
    /// All of it, where it has at most so many bytes and comes before it is `late`; `None` where there is
    /// not enough room.
    pub async fn gather(
        &mut self,
        most: u64,
        room: &Room,
        late: &mut Deadline,
    ) -> Result<Option<Bytes>, Problem> {
        self.check(Some(most))?;
        let incoming = match self {
            Self::Gathered(bytes) => return Ok(Some(bytes.clone())),
            Self::Coming(incoming) => incoming,
        };
        if incoming.size_hint().lower() > most {
            return Err(Problem::ContentTooLarge(most));
        }
        // For what has come, and not for what is said to come: else it would be enough to say so.
        let Some(mut held) = room.take(0) else { return Ok(None) };
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
                        let Some(more) = room.take(data.len()) else { return Poll::Ready(Ok(false)) };
                        held.merge(more);
                        gathered.extend_from_slice(&data);
                    }
                    Poll::Ready(Some(Err(_))) => {
                        return Poll::Ready(Err(Problem::BadRequest("the request's body is not valid HTTP")));
                    }
                    Poll::Pending => {
                        return Pin::new(&mut *late).poll(cx).map(|()| Err(Problem::RequestTimeout));
                    }
                }
            }
        })
        .await?;
        if !is_whole {
            return Ok(None);
        }
        let bytes = held.keep(gathered.freeze());
        *self = Self::Gathered(bytes.clone());
        Ok(Some(bytes))
    }

    /// Whether it is known that there is none.
    pub fn is_none(&self) -> bool {
        match self {
            Self::Coming(incoming) => incoming.is_end_stream(),
            Self::Gathered(bytes) => bytes.is_empty(),
        }
    }

    /// What is here must not have more bytes than may be; what comes is watched on its way.
    pub fn check(&self, most: Option<u64>) -> Result<(), Problem> {
        match (self, most) {
            (Self::Gathered(bytes), Some(most)) if bytes.len() as u64 > most => {
                Err(Problem::ContentTooLarge(most))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::{super::body::Upload, *};

    fn room(all: usize, own: usize) -> Room {
        let [all, own] = [all, own].map(|bytes| Arc::new(Semaphore::new(bytes)));
        Room { all, own }
    }

    #[test]
    fn bytes_hold_their_room_until_the_last_copy_is_gone() {
        let room = room(100, 50);
        let left = || (room.all.available_permits(), room.own.available_permits());
        let bytes = room.take(10).unwrap().keep(Bytes::from_static(b"0123456789"));
        let part = bytes.slice(3..5);
        drop(bytes);
        assert_eq!((left(), &*part), ((90, 40), &b"34"[..]));
        drop(part);
        assert_eq!(left(), (100, 50));
    }

    #[test]
    fn a_body_holds_its_room_until_whoever_sends_it_is_done_with_it() {
        let room = room(100, 100);
        let bytes = room.take(4).unwrap().keep(Bytes::from_static(b"body"));
        let (mut upload, _) = Upload::new(Inflow::Gathered(bytes), false, None);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut upload).poll_frame(&mut cx) else {
            panic!("it is here");
        };
        drop(upload);
        assert_eq!(room.all.available_permits(), 96, "it has yet to be sent");
        drop(frame);
        assert_eq!(room.all.available_permits(), 100);
    }

    #[test]
    fn those_for_one_plugin_leave_room_for_others() {
        let one = room(100, 12);
        let other = Room { own: Arc::new(Semaphore::new(12)), ..one.clone() };
        let _held = one.take(12).unwrap();
        assert!(one.take(1).is_none());
        assert_eq!(one.all.available_permits(), 88, "what was not given is not taken");
        assert!(other.take(12).is_some());
    }
}
