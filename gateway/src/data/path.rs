//! Paths that everybody reads in the same way.
//!
//! Routes are matched as paths are written, but a plugin may take `/%61dmin`, `//admin` or
//! `/admin;x` for `/admin`. Where only some routes are guarded, such a path would pass by the guard on
//! a less specific route: there it is refused.

/// Whether a path means only what it says, whoever decodes it.
pub fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let escapes_are_needed = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        let decoded = bytes.get(at + 1..at + 3).and_then(decode);
        // What need not be written like this is another way to write something else, and what
        // separates or is decoded twice divides a path for some and not for others.
        decoded.is_some_and(|byte| {
            !(byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\%;".contains(&byte))
        })
    });
    escapes_are_needed && !path.contains("//") && !bytes.iter().any(|byte| matches!(byte, b'\\' | b';'))
}

fn decode(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_paths_that_mean_one_thing() {
        for path in ["/", "/orders/7", "/a%20b", "/caf%C3%A9", "/a:b@c", "/a,b", "/x/", "/%3Cb%3E"] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "//admin", "/a//b", "/%61dmin", "/a%2Fb", "/a%2fb", "/a%5cb", "/a\\b", "/a;b", "/a%3Bb",
            "/%2561", "/a%00", "/a%", "/a%2", "/a%zz", "/%2e", "/a%7E",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
