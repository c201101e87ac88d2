//! Plugins that cannot agree, and the smallest edits that would make them. Owns the words for both.

use std::fmt;

/// How many ways out are told.
pub(crate) const RESOLUTIONS: usize = 3;

/// How many edits of one way out are told: enough to act on. What is left out is not counted, so
/// that what one plugin says does not change whenever one more of many disagrees.
pub(crate) const EDITS: usize = 8;

/// Plugins that cannot agree on a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// On what.
    pub kind: ConflictKind,
    /// A smallest set of plugins that cannot agree, whatever the others are, by name.
    pub members: Vec<String>,
    /// The ways out that take the fewest edits: the first three in a stable order.
    pub resolutions: Vec<Resolution>,
}

/// What plugins cannot agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// There is no such plugin; the members need it.
    Missing,
    /// A dependent does not accept the version that its dependency has. There are versions that all
    /// dependents accept.
    Version,
    /// No version is in the ranges of all members, so that no version of the dependency will do.
    Exclusive {
        /// The members and their ranges.
        ranges: Vec<Refusal>,
    },
}

/// A plugin and a range that does not go with what others want.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Its name.
    pub name: String,
    /// The range that it accepts.
    pub range: String,
}

/// Edits that together end a conflict and begin no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The edits; of very many the first.
    pub edits: Vec<Edit>,
    /// Whether there are more edits of the kind of the last.
    pub others: bool,
}

/// A change to one field of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edit {
    /// Give a plugin another version.
    SetVersion {
        /// The plugin.
        plugin: String,
        /// The versions that will do.
        to: Versions,
    },
    /// Apply a plugin that is missing.
    Add {
        /// The plugin.
        plugin: String,
        /// The versions that will do.
        to: Versions,
    },
    /// Change the range that a plugin has for a dependency.
    Accept {
        /// The plugin.
        plugin: String,
        /// The version that it must accept; absent where the same resolution sets it.
        version: Option<String>,
    },
    /// Let a plugin do without a dependency.
    MakeOptional {
        /// The plugin.
        plugin: String,
        /// The dependency.
        dependency: String,
    },
}

/// The versions that will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Versions {
    /// Every one.
    Any,
    /// One alone.
    One(String),
    /// Those of a range.
    In(String),
}

/// What a person can do about a conflict, to follow what the matter is.
pub(crate) struct Fix<'a>(pub &'a [Resolution]);

impl fmt::Display for Fix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, resolution) in self.0.iter().enumerate() {
            write!(f, "{}{resolution}", if place == 0 { "; fix: " } else { ", or " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ConflictKind::Exclusive { ranges } = &self.kind {
            let all = match ranges.len() {
                1 => "",
                2 => "both ",
                _ => "all of ",
            };
            write!(f, ", and no version suits {all}{}", and(ranges, false))?;
        }
        Fix(&self.resolutions).fmt(f)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (needs {})", self.name, self.range)
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut accepting = Vec::new();
        let mut said = Vec::new();
        let mut accepted = "it";
        for edit in &self.edits {
            match edit {
                Edit::SetVersion { plugin, to: Versions::In(range) } => {
                    said.push(format!("set {plugin} to a version in {range}"));
                }
                Edit::SetVersion { plugin, to: Versions::One(version) } => {
                    said.push(format!("set {plugin} to {version}"));
                }
                Edit::SetVersion { plugin, to: Versions::Any } => {
                    said.push(format!("set {plugin} to a release"));
                }
                Edit::Add { plugin, to: Versions::In(range) } => {
                    said.push(format!("apply {plugin} in a version in {range}"));
                }
                Edit::Add { plugin, to: Versions::One(version) } => {
                    said.push(format!("apply {plugin} in version {version}"));
                }
                Edit::Add { plugin, to: Versions::Any } => said.push(format!("apply {plugin}")),
                Edit::Accept { plugin, version } => {
                    accepted = version.as_deref().unwrap_or(accepted);
                    accepting.push(plugin);
                }
                Edit::MakeOptional { plugin, dependency } => {
                    said.push(format!("make {dependency} optional in {plugin}"));
                }
            }
        }
        if !accepting.is_empty() {
            said.push(format!("let {} accept {accepted}", and(&accepting, self.others)));
        } else if self.others {
            said.push("so on".to_owned());
        }
        f.write_str(&said.join(" and "))
    }
}

/// "a", "a and b", "a, b and c".
fn and<T: fmt::Display>(items: &[T], others: bool) -> String {
    let mut texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    if others {
        texts.push("others".to_owned());
    }
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
