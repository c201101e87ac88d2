//! Path patterns and host names, by the same rules as the API server's.

use std::{fmt, str::FromStr};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 512;
/// The longest host name, in bytes.
const MAX_HOST: usize = 253;

/// A path pattern: literal segments, `:name` for one segment, `*name` at the end for the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

/// What a segment of a path must be. In this order a request prefers them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Exactly this; empty as the last segment of a path that ends in `/`.
    Literal(String),
    /// Anything but nothing.
    Param,
    /// All that is left of the path, but not nothing.
    Rest,
}

/// Why a text is not a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has no leading slash.
    #[error("path {0:?} does not start with '/'")]
    NotAbsolute(String),
    /// It is longer than 512 bytes.
    #[error("path {0:?}… is longer than 512 bytes")]
    TooLong(String),
    /// A segment is neither a literal, nor `:name`, nor a last `*name`.
    #[error(
        "path {path:?} has the segment {segment:?}, which is neither a literal, nor ':name', nor '*name' at the end"
    )]
    BadSegment {
        /// The whole text.
        path: String,
        /// The part that is wrong.
        segment: String,
    },
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What each segment must be. Two patterns with the same segments match the same paths.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(text.chars().take(64).collect()));
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(PatternError::NotAbsolute(text.to_owned()));
        };
        let mut segments = Vec::new();
        let mut parts = inner.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let segment = segment(part, last).ok_or_else(|| PatternError::BadSegment {
                path: text.to_owned(),
                segment: part.to_owned(),
            })?;
            segments.push(segment);
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

fn segment(part: &str, last: bool) -> Option<Segment> {
    if let Some(name) = part.strip_prefix(':') {
        return is_name(name).then_some(Segment::Param);
    }
    if let Some(name) = part.strip_prefix('*') {
        return (last && is_name(name)).then_some(Segment::Rest);
    }
    let literal = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~!$&+,;=@%-".contains(&byte));
    (literal && (last || !part.is_empty())).then(|| Segment::Literal(part.to_owned()))
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a text is a host name in lower case without a port, or empty (every host).
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner =
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.is_empty() || (text.len() <= MAX_HOST && text.split('.').all(label))
}
