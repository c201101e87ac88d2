//! The termination message: a file that the kubelet reads when the container has ended, and whose
//! text the operator puts into the plugin's status.

use std::{env, fs, io, path::PathBuf};

/// Where the kubelet mounts the file, if the manifest of the pod does not say otherwise.
const DEFAULT: &str = "/dev/termination-log";
/// Names another file.
const VARIABLE: &str = "GOFORWARD_TERMINATION_LOG";
/// The kubelet reads no more than this many bytes.
const MOST: usize = 4096;

/// Leaves the message; that it cannot be left is no reason to end otherwise.
pub fn leave(message: &str) {
    if let Err(error) = write(message) {
        tracing::warn!(%error, "the termination message could not be written");
    }
}

/// Writes the message. Outside Kubernetes, where the file does not exist, there is nothing to write.
fn write(message: &str) -> io::Result<()> {
    let given = env::var_os(VARIABLE).map(PathBuf::from);
    let path = match given {
        Some(path) => path,
        None if fs::exists(DEFAULT)? => DEFAULT.into(),
        None => return Ok(()),
    };
    fs::write(path, cut(message))
}

fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "é".repeat(MOST);
        assert_eq!(cut(&message).len(), MOST);
        let message = format!("x{message}");
        assert_eq!(cut(&message).len(), MOST - 1);
        assert_eq!(cut("short"), "short");
    }
}
