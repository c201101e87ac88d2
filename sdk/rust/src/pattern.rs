//! The patterns of paths, as manifests spell them (`/orders/:id`, `/files/*rest`). How axum spells
//! them stays in here.

use std::fmt::Write;

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the path must start with '/'")]
    NoSlash,
    #[error("the path has a parameter without a name")]
    NamelessParameter,
    #[error("'*' can stand only in front of the last segment")]
    RestInTheMiddle,
    #[error("the path has a character that paths do not have; write it as %XX")]
    BadCharacter,
}

/// Checks a pattern by itself.
pub fn check(path: &str) -> Result<(), PatternError> {
    let path = path.strip_prefix('/').ok_or(PatternError::NoSlash)?;
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let parameter = segment.strip_prefix([':', '*']);
        let text = parameter.unwrap_or(segment);
        if parameter.is_some_and(|name| !is_identifier(name)) {
            return Err(PatternError::NamelessParameter);
        }
        if !text.bytes().all(is_path_character) {
            return Err(PatternError::BadCharacter);
        }
        if segment.starts_with('*') && segments.peek().is_some() {
            return Err(PatternError::RestInTheMiddle);
        }
    }
    Ok(())
}

/// The path without its parameters' names.
pub fn shape(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.as_bytes().first() {
        Some(b':') => ":",
        Some(b'*') => "*",
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The path in axum's spelling.
pub fn to_axum(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if let Some(name) = segment.strip_prefix(':') {
            format!("{{{name}}}")
        } else if let Some(name) = segment.strip_prefix('*') {
            format!("{{*{name}}}")
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A path of axum's in the spelling of the manifest: `/orders/{id}` is `/orders/:id`.
pub fn from_axum(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let written = match name.map(|name| name.strip_prefix('*').ok_or(name)) {
            None => write!(pattern, "/{segment}"),
            Some(Ok(rest)) => write!(pattern, "/*{rest}"),
            Some(Err(one)) => write!(pattern, "/:{one}"),
        };
        written.expect("a String takes whatever is written");
    }
    pattern
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

fn is_path_character(character: u8) -> bool {
    character.is_ascii_alphanumeric() || b"._~!$&+,;=@%-".contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_spelled_in_both_ways() {
        for (path, route) in
            [("/", "/"), ("/orders/{id}/refund", "/orders/:id/refund"), ("/f/{*rest}", "/f/*rest")]
        {
            assert_eq!((from_axum(path), to_axum(route)), (route.to_owned(), path.to_owned()));
        }
    }
}
