//! Reads JSON documents, configurations and bodies of requests, into types, and finds everything
//! that is wrong with them at once.

mod pointer;
mod problems;
mod value;

pub use self::{
    pointer::Pointer,
    problems::{Problem, deserialize},
    value::kind,
};
