//! Where things lie: the repository, the user's cache. Creates nothing.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The repository that the command was given in, else the one that this program was built from. The
/// latter can be another clone: clones that share a target folder share this program too.
pub fn repository() -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    let around = here.ancestors().find(|folder| folder.join("xtask/src/paths.rs").is_file());
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
    around.unwrap_or(built).to_path_buf()
}

/// What outlives a clone and is shared by all of them.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder).join("forward"));
    }
    let home = env::var_os("HOME").context("HOME is not set, so there is no place for the cache")?;
    Ok(PathBuf::from(home).join(".cache/forward"))
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), |folder| repository().join(folder))
}

/// Where image archives are written.
pub fn images() -> PathBuf {
    target().join("images")
}
