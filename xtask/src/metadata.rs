//! What cargo says of our packages.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::exec;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    /// Set for packages of this repository.
    pub path: Option<String>,
}

/// What is compiled as a whole: a library, a program, or a file or folder of tests.
#[derive(Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

/// All of them.
pub fn packages() -> Result<Vec<Package>> {
    let said = exec::output(exec::cargo().args([
        "--quiet",
        "--locked",
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&said).context("read what cargo metadata says")?;
    Ok(metadata.packages)
}
