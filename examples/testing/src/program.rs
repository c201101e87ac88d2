//! Where the servers' programs are.

use std::{env, fs, path::PathBuf};

/// A program by its name, or by one of the paths that it may have.
pub fn find(name: &str, elsewhere: &[&str], package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|folder| folder.join(name));
    let mut candidates = in_path.chain(elsewhere.iter().map(PathBuf::from));
    candidates.find(|program| program.exists()).unwrap_or_else(|| missing(name, package))
}

/// A program of PostgreSQL, of the newest version that is there: Debian keeps them apart.
pub fn of_postgres(name: &str) -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(name)))
        .filter(|program| program.exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| find(name, &[], "postgresql"))
}

fn missing(name: &str, package: &str) -> ! {
    panic!("{name} is missing; `cargo xtask test` installs it, or: apt-get install {package}")
}
