//! Reads JSON documents, configurations and bodies of requests, into types, and finds everything
//! that is wrong with them at once.

mod problems;
mod value;

pub use self::problems::{Problem, deserialize};
