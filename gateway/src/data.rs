//! The data side: every request, from the accepted connection to the last byte of the answer.
//!
//! Owns connections, matching, forwarding and what is counted about them. Refuses to own where
//! routes and endpoints come from: it reads a [`snapshot`] that others publish. Its invariant:
//! a request lives on the one thread that accepted it, its exchange with the plugin included;
//! nothing of it is spawned or sent through a channel unless the plugin answers before it has
//! read the whole request, or the connection becomes a tunnel.

pub mod accept;
pub mod ask;
pub mod attempt;
pub mod authenticate;
pub mod balance;
pub mod body;
pub mod budget;
pub mod bulkhead;
pub mod chain;
pub mod channel;
pub mod circuit;
pub mod clock;
pub mod compress;
pub mod connection_limit;
pub mod cors;
pub mod exchange;
pub mod forward;
pub mod grpc;
pub mod guard;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod inflow;
pub mod judge;
pub mod latency;
pub mod limit;
pub mod pace;
pub mod path;
pub mod pool;
pub mod problem;
pub mod record;
pub mod request;
pub mod resilience;
pub mod secure;
pub mod snapshot;
pub mod span;
pub mod stats;
pub mod tap;
pub mod trace;
pub mod tunnel;
pub mod turn;
pub mod websocket;
pub mod worker;
