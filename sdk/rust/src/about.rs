//! What a program says of itself.

/// A plugin's program, as its crate's manifest describes it; [`main!`](crate::main) fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name that the plugin goes by where the environment gives it none.
    pub name: &'static str,
    /// The program's own version (Semantic Versioning 2.0.0).
    pub version: &'static str,
    /// What it does, in one sentence.
    pub description: &'static str,
}
