//! JSON pointers (RFC 6901).

use std::fmt;

use serde::Deserialize;

/// A place in a JSON document, as the keys and indices that lead there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(Vec<String>);

/// A text that is no pointer to a place below the whole document.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON pointer")]
pub struct ParsePointerError;

impl Pointer {
    /// The place that these keys and indices lead to.
    pub fn new(segments: Vec<String>) -> Self {
        Self(segments)
    }

    /// The keys and indices that lead there.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The same place and one step on.
    pub fn child(&self, segment: impl Into<String>) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.into());
        Self(segments)
    }

    /// As a fragment of a URI (RFC 6901, section 6), for example `#/items/0/sku`.
    pub fn fragment(&self) -> String {
        if self.0.is_empty() { "#".to_owned() } else { format!("#{self}") }
    }

    /// Whether `other` is this place or lies within it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Whether one of the places lies within the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, another)| one == another)
    }
}

impl TryFrom<String> for Pointer {
    type Error = ParsePointerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let segments = text.strip_prefix('/').ok_or(ParsePointerError)?;
        // ~1 first: "~01" stands for "~1", not for "/".
        Ok(Self(segments.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the configuration");
        }
        self.0.iter().try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["/api_key", "/a/0/b", "/m~0n/a~1b", "/~01"] {
            assert_eq!(Pointer::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Pointer::try_from("/~01".to_owned()).unwrap().segments(), ["~1"]);
        assert!(Pointer::try_from("api_key".to_owned()).is_err());
    }

    #[test]
    fn tells_what_holds_what() {
        let pointer = |text: &str| Pointer::try_from(text.to_owned()).unwrap();
        assert!(Pointer::default().holds(&pointer("/a")) && pointer("/a").holds(&pointer("/a/b")));
        assert!(!pointer("/a/b").holds(&pointer("/a")) && !pointer("/a").holds(&pointer("/ab")));
        assert!(pointer("/a/b").overlaps(&pointer("/a")) && !pointer("/a/b").overlaps(&pointer("/a/c")));
    }
}
