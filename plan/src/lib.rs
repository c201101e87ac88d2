//! Decides, from plain data, what should happen to each plugin and why.
//!
//! Owns the graph of a namespace's plugins, the order in which they come up, over and down, and the
//! reason for everything that does not happen yet. Refuses to own any I/O: no client, clock,
//! environment or randomness, so that the same input gives the same decision wherever it is made.
#![warn(missing_docs)]

mod agreement;
pub mod alerts;
mod assess;
mod cidr;
mod claims;
mod conditions;
mod config;
mod conflict;
mod cycles;
mod decide;
mod decision;
mod facts;
mod flaws;
mod foresee;
mod health;
mod hooks;
mod images;
mod inherited;
pub mod middleware;
mod model;
mod namespace;
mod order;
mod overrides;
mod permissions;
mod places;
mod range;
mod reason;
pub mod routes;
mod slots;
mod timings;

pub use cidr::{Cidr, ParseCidrError};
pub use conditions::ConditionReason;
pub use config::{AnnouncedSchemaError, ConfigVerdict, Judged, Unknown, effective_config, read_announced};
pub use conflict::{Conflict, ConflictKind, Edit, Refusal, Resolution, Versions};
pub use decision::{Action, Change, ConditionView, Decision, Plan, Step};
pub use flaws::{Flaw, flaws};
pub use foresee::Warning;
pub use health::{Answer, HealthVerdict, PodHealth, Standing, Tallies, Tally, Thresholds, judge_health};
pub use hooks::{HookCall, hook_ends, hook_revision, hook_runs};
pub use inherited::{Inherited, config_from_changed, restart, revision};
pub use model::{
    DEFAULT_CONCURRENT_ROLLOUTS, HookRun, Observed, Pod, PodPhase, Problem, Settings, Stage, Workload,
};
pub use namespace::Namespace;
pub use overrides::{Effective, OverrideError, Overrides};
pub use permissions::{Breach, Field, Permissions};
pub use range::Range;
pub use reason::{Cause, Failure, Hindrance, Obstacle, Purpose, Reason, Switch};
pub use timings::{state_time, timings};
