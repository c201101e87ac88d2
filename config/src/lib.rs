//! One verdict on a plugin's configuration: what the operator holds a rollout by is what the plugin
//! itself finds when it starts.
//!
//! Owns schemas (JSON Schema 2020-12), what they say of a configuration, the defaults that they
//! fill in, and where the values of `configFrom` go. Refuses to own any I/O: a schema that names
//! another document is refused. Invariant: no message holds a value that comes from a Secret.
#![warn(missing_docs)]

mod certain;
mod check;
mod defaults;
mod place;
mod pointer;
mod rule;
mod schema;
mod unknown;
mod value;
mod violation;
mod walk;
mod work;

pub use defaults::fill_defaults;
pub use place::{PlaceError, place};
pub use pointer::{ParsePointerError, Pointer};
pub use schema::{Schema, SchemaError};
pub use value::kind;
pub use violation::{Violation, list};
