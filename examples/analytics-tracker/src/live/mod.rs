//! Events as they come, over server-sent events.
//!
//! One follower reads the storage for all streams of the pod, so events that another pod took reach
//! them too. Invariant: a stream shows every event after its beginning once, in order, or says how
//! many it leaves out.

mod feed;
mod resume;
mod stream;

pub use self::{
    feed::Feed,
    stream::{Listening, Options, listen},
};
