//! Which shared libraries programs need, asked of the dynamic loader that will load them.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::exec;

/// Gives the loader and the libraries that these programs and libraries need and that lie in the
/// root they lie in. Static programs and files that are no programs need none.
pub fn find(root: &Path, files: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let loader = loader(root)?;
    let mut found = BTreeSet::new();
    for file in files {
        if !is_dynamic(&loader, file)? {
            continue;
        }
        let folder = root.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH));
        let listed = exec::output(
            Command::new(&loader)
                // What is installed on this machine is none of the image's.
                .args(["--inhibit-cache", "--library-path"])
                .arg(&folder)
                .arg("--list")
                .arg(file),
        )?;
        for library in parse(&listed) {
            let library = library.with_context(|| format!("find what {} needs", file.display()))?;
            if !library.starts_with(root) {
                bail!("{} needs {}, which is in none of its packages", file.display(), library.display());
            }
            found.insert(library);
        }
        found.insert(loader.clone());
    }
    Ok(found)
}

/// The loader, in the place that is written in every program.
fn loader(root: &Path) -> Result<PathBuf> {
    Ok(root.join(match env::consts::ARCH {
        "x86_64" => "lib64/ld-linux-x86-64.so.2",
        "aarch64" => "lib/ld-linux-aarch64.so.1",
        other => bail!("images of Debian's programs are not made on {other}"),
    }))
}

fn is_dynamic(loader: &Path, file: &Path) -> Result<bool> {
    if !loader.exists() {
        // None of the packages depends on the C library.
        return Ok(false);
    }
    let verified = Command::new(loader).arg("--verify").arg(file).output();
    let status = verified.with_context(|| format!("run {}", loader.display()))?.status;
    // 0: a program, 2: a library.
    Ok(matches!(status.code(), Some(0 | 2)))
}

/// The files in what the loader lists: `name => path (address)`, or the name alone for the kernel's
/// and for the loader itself.
fn parse(listed: &str) -> impl Iterator<Item = Result<PathBuf>> {
    listed.lines().filter_map(|line| line.trim().split_once(" => ")).map(|(name, found)| {
        match found.rsplit_once(" (0x") {
            Some((path, _)) => Ok(PathBuf::from(path)),
            None => bail!("{name}: {found}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\tlinux-vdso.so.1 (0x00007f01fedac000)\n\
                          \tlibz.so.1 => /root/usr/lib/libz.so.1 (0x00007f01feab2000)\n\
                          \tlibx.so.6 => not found\n\
                          \t/root/lib64/ld.so (0x00007f01fedae000)\n";

    #[test]
    fn reads_what_the_loader_lists() {
        let read: Vec<_> = parse(LISTED).map(|library| library.map_err(|error| error.to_string())).collect();
        assert_eq!(read, [Ok("/root/usr/lib/libz.so.1".into()), Err("libx.so.6: not found".into())]);
    }
}
