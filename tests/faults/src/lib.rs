//! The operator under faults: the program itself as a process of this machine, a real API server,
//! nodes and pods that are simulated, and between operator and API server a proxy that has go wrong
//! what a [`Plan`] says.
//!
//! Owns how faults are made, and what is compared after them. Refuses to own what the operator
//! should do: that stands in `tests/`. Its invariant: the end is compared with that of a run in
//! which nothing went wrong, object by object.
//!
//! Simulated pods have no process, so there is no gateway here either: [`Site`] has something that
//! says for it what it would say of pods that are well.

mod call;
pub mod fields;
mod operator;
mod order;
mod plan;
mod proxy;
mod registrar;
pub mod scenario;
mod site;
mod state;
mod watch;

pub use call::{Call, Verb};
pub use operator::Operator;
pub use order::{Judge, Verdicts};
pub use plan::{Disturbance, Fault, Plan, Rule, Target};
pub use proxy::{Entry, Hooks, Proxy};
pub use site::{Site, run_on_site};
pub use state::State;
