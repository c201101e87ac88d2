//! Puts images into a running cluster.

use std::{os::unix::net::UnixStream, path::Path, process::Command};

use anyhow::{Context, Result};

use super::layout::Layout;
use crate::exec;

/// Whether containerd answers.
pub fn is_up(layout: &Layout) -> bool {
    UnixStream::connect(layout.containerd_socket()).is_ok()
        && exec::output(ctr(layout).arg("version")).is_ok()
}

/// Imports one archive under the name that is written in it.
pub fn import(layout: &Layout, archive: &Path) -> Result<()> {
    exec::output(ctr(layout).args(["images", "import"]).arg(archive))
        .with_context(|| format!("load {}", archive.display()))?;
    Ok(())
}

/// Containerd's own client, where kubelet looks for images.
pub fn ctr(layout: &Layout) -> Command {
    let mut ctr = Command::new(layout.bin().join("ctr"));
    ctr.arg("--address").arg(layout.containerd_socket()).args(["--namespace", "k8s.io"]);
    ctr
}
