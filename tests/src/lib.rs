//! What the tests on a real cluster have in common: a namespace of their own, manifests, waits
//! on a predicate with a bound, requests and steady load through the gateway, the API server's
//! audit log, and a folder with everything when a test fails.
//!
//! Owns no expectation about Forward: those stand in `tests/`. Its invariant: a test that can not
//! run fails; nothing is skipped.
//!
//! ```no_run
//! # use forward_tests::{plugin, run, seconds, started};
//! # async fn test() {
//! run("hello_is_ready", async |ns| {
//!     ns.apply(&plugin("hello")).await?;
//!     ns.await_plugin("hello", "to start", seconds(30), started).await?;
//!     Ok(())
//! })
//! .await;
//! # }
//! ```
//!
//! The tests of one file run at the same time. One that disturbs the whole cluster (it restarts a
//! component, say) belongs into a file of its own: cargo runs files one after the other.

mod audit;
mod cluster;
mod dump;
pub mod fields;
mod gateway;
pub mod gitops;
pub mod golden;
mod load;
mod manifest;
mod namespace;
mod predicate;
mod run;
pub mod shop;
mod system;
mod wait;
mod xtask;

use std::time::Duration;

pub use audit::{Audit, Entry, Mark};
pub use cluster::{Cluster, artifacts};
pub use gateway::{Answer, Body, Gateway, IN_A_ROW};
pub use load::{Load, Report};
pub use manifest::{PluginBuilder, plugin};
pub use namespace::TestNamespace;
pub use predicate::{condition, has_condition, has_reason, in_state, ready, started};
pub use run::{run, run_within};
pub use system::{at_once, restarts_of, signal};
pub use wait::{await_object, await_until};
pub use xtask::xtask;

/// The field manager of what tests apply.
pub const FIELD_MANAGER: &str = "forward-tests";
/// The namespace that the chart is installed in.
pub const SYSTEM_NAMESPACE: &str = "forward-system";

/// A bound, as tests write it.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
