//! The control side: what the API server and the plugins say, made into what requests are
//! answered from, and into the gateway's part of each plugin's status.
//!
//! Owns the index, the calls to plugins (Describe, Health) and the registration. Refuses to own
//! requests. Its invariant: what requests are answered from follows from API objects alone, so
//! that every replica serves the same, and a restarted one serves at once; what plugins say
//! reaches requests through their status only.

pub mod call;
pub mod health;
pub mod index;
pub mod middleware;
pub mod probe;
pub mod process;
pub mod provide;
pub mod register;
pub mod registrar;
pub mod reload;
pub mod share;
pub mod slice;
pub mod status;
pub mod trust;
pub mod verdict;
pub mod watch;
pub mod watchlist;
