//! Which plugin answers which requests: path patterns, the contest where several plugins
//! claim the same route, and the tree in which a request's path is looked up.
//!
//! Owns the meaning of a route. Refuses to own where routes come from and where requests go.
//! Its invariant: the outcome depends on the claims alone, not on the order they came in.

mod contest;
mod method;
mod pattern;
mod trie;

pub use contest::{Change, Claimant, Contest, Offer, PluginId, Slot, Winner};
pub use method::{Method, UnknownMethod};
pub use pattern::{Pattern, PatternError, Segment, is_host};
pub use trie::Trie;

/// How many routes a plugin may announce.
pub const MAX_ANNOUNCED: usize = 256;
