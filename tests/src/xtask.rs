//! The project's own commands, for tests that disturb the cluster itself.

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::cluster::variable;

/// Run `cargo xtask` with arguments, for example to restart a component of the cluster, and give
/// what it prints.
pub async fn xtask(arguments: &[&str]) -> Result<String> {
    let program = variable("FORWARD_XTASK")?;
    let output =
        Command::new(&program).args(arguments).output().await.with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("xtask {} failed with {}: {said}", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
