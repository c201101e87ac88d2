//! Which answers are made smaller.

use forward_crds as crds;

use super::StepError;

/// What is compressed where nothing is named. Pictures, films and archives are small already.
const TYPES: [&str; 9] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "application/manifest+json",
    "font/ttf",
    "image/svg+xml",
];
/// What types end with that are text in one of these forms.
const SUFFIXES: [&str; 3] = ["+json", "+xml", "+text"];

/// Which answers are made smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct Compress {
    /// Answers that are known to have fewer bytes stay as they are.
    pub min_bytes: u64,
    /// Media types in lower case, or `type/*`; empty for those that are worth it.
    types: Vec<String>,
}

impl Compress {
    pub(super) fn read(compress: &crds::Compress) -> Result<Self, StepError> {
        let crds::Compress { min_bytes: value, types } = compress;
        let min_bytes =
            u64::try_from(*value).map_err(|_| StepError::OutOfRange { field: "minBytes", value: *value })?;
        Ok(Self { min_bytes, types: types.iter().map(|name| name.to_ascii_lowercase()).collect() })
    }

    /// Whether answers of a type are compressed. Events are not: each is to arrive by itself.
    pub fn covers(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence == "text/event-stream" {
            return false;
        }
        let is = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => essence.starts_with(start),
            None => essence == pattern,
        };
        if self.types.is_empty() {
            TYPES.iter().any(|pattern| is(pattern)) || SUFFIXES.iter().any(|end| essence.ends_with(end))
        } else {
            self.types.iter().any(|pattern| is(pattern))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_text_and_what_is_named_but_never_events() {
        let compress = |types: &[&str]| Compress {
            min_bytes: 0,
            types: types.iter().map(|name| (*name).to_owned()).collect(),
        };
        let usual = compress(&[]);
        for text in ["text/html", "Text/HTML; charset=utf-8", "application/problem+json", "image/svg+xml"] {
            assert!(usual.covers(text), "{text}");
        }
        for text in ["", "image/png", "application/zip", "text", "text/event-stream", "TEXT/Event-Stream;x=y"]
        {
            assert!(!usual.covers(text), "{text}");
        }
        let named = compress(&["application/*", "image/bmp", "text/event-stream"]);
        assert!(named.covers("application/pdf") && named.covers("image/bmp"));
        assert!(!named.covers("text/html") && !named.covers("text/event-stream"));
    }
}
