//! Paths that everybody reads in the same way.
//!
//! Routes are matched as paths are written, but a plugin may take `/%61dmin`, `//admin` or
//! `/admin;x` for `/admin`. Where only some routes are guarded, such a path would pass by the guard on
//! a less specific route: there it is refused.

use std::iter;

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

/// Services that every plugin serves for the cluster, and not for clients: the contract, and the
/// kubelet's questions.
const INTERNAL: [&str; 2] = ["goforward.", "grpc.health.v1.Health/"];

/// Whether a path is one of those services, for who decodes it too. Plugins answer them over every version of
/// HTTP, and whatever the body is said to be.
pub fn is_internal(path: &str) -> bool {
    INTERNAL.iter().any(|service| {
        let mut bytes = decoded(path).skip_while(|byte| *byte == b'/');
        service.bytes().all(|byte| bytes.next().is_some_and(|it| it.eq_ignore_ascii_case(&byte)))
    })
}

/// The bytes that a path stands for.
fn decoded(path: &str) -> impl Iterator<Item = u8> {
    let mut rest = path.as_bytes();
    iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        match tail.get(..2).filter(|_| *first == b'%').and_then(decode) {
            Some(byte) => {
                rest = &tail[2..];
                Some(byte)
            }
            None => {
                rest = tail;
                Some(*first)
            }
        }
    })
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
    fn knows_what_plugins_serve_for_the_cluster_however_it_is_written() {
        for path in [
            "/goforward.plugin.v1.Plugin/Describe",
            "/goforward.v2.Whatever/X",
            "/grpc.health.v1.Health/Check",
            "//goforward.plugin.v1.Plugin/Describe",
            "/%67oforward%2Eplugin.v1.Plugin/Describe",
            "/%2fgoforward.plugin.v1.Plugin/Describe",
            "/GoForward.plugin.v1.Plugin/Describe",
        ] {
            assert!(is_internal(path), "{path}");
        }
        for path in [
            "/",
            "/goforward",
            "/goforward/x",
            "/a/goforward.plugin.v1.Plugin/Describe",
            "/%",
            "/%6",
            "/grpc.health.v1",
        ] {
            assert!(!is_internal(path), "{path}");
        }
    }

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
