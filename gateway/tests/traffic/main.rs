//! The data side over real sockets: clients and plugins are written out byte by byte, so that
//! what is tested is what is on the wire.

#![expect(clippy::unwrap_used, reason = "a test stops where something unexpected is")]

mod autobahn;
mod bodies;
mod callers;
mod calls;
mod connections;
mod debug;
mod dormant;
mod failures;
mod frames;
mod framing;
mod fuzz;
mod h2spec;
mod harness;
mod headers;
mod http2;
mod middleware;
mod routing;
mod stopping;
mod tls;
mod traces;
mod tunnels;
