//! The files of Debian packages and of all that they depend on, in a folder of their own.
//!
//! Refuses to install them: that could start a daemon, needs root, and what an image holds would
//! depend on what else is installed here.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{exec, paths, progress::Step};

/// Folders of programs and libraries that are links into `usr`, as on every Debian of today.
pub const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Gives the folder. What is there stays; to get newer packages, delete it.
pub fn fetch(packages: &[&str]) -> Result<PathBuf> {
    let names = packages.join("+");
    let cache = paths::cache()?.join("debian");
    let folder = cache.join(&names);
    if folder.exists() {
        return Ok(folder);
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("an image is made of Debian's packages {names}, and there is no apt-get to fetch them");
    }
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    let step = Step::begin(format!("fetching Debian packages: {}", packages.join(", ")));
    step.detail("another run fetches packages");
    lock.lock()?;
    if !folder.exists() {
        let unfinished = cache.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).context("remove what a killed run left")?;
        }
        step.detail("downloading");
        download(packages, &unfinished)?;
        step.detail("unpacking");
        unpack(&unfinished)?;
        fs::rename(unfinished.join("root"), &folder)?;
        fs::remove_dir_all(&unfinished)?;
    }
    step.done();
    Ok(folder)
}

/// Downloads the packages with all that they depend on, whatever of it is installed here.
fn download(packages: &[&str], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("archives/partial"))?;
    fs::create_dir_all(folder.join("lists/partial"))?;
    let nothing_installed = folder.join("status");
    File::create(&nothing_installed)?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet", "--yes", "--option", "Debug::NoLocking=true", "--option"])
            .arg(format!("Dir::State::status={}", nothing_installed.display()))
            .arg("--option")
            .arg(format!("Dir::Cache::archives={}", folder.join("archives").display()))
            .env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let wanted = [&["install", "--download-only", "--no-install-recommends"], packages].concat();
    if exec::output(apt().args(&wanted)).is_ok() {
        return Ok(());
    }
    // This machine's lists are absent or name packages that are gone by now. Lists of our own need no root.
    let lists = format!("--option=Dir::State::lists={}", folder.join("lists").display());
    exec::output(apt().arg(&lists).arg("update")).context("fetch the package lists")?;
    exec::output(apt().arg(&lists).args(&wanted))?;
    Ok(())
}

/// Unpacks all archives into the folder `root`.
fn unpack(folder: &Path) -> Result<()> {
    let root = folder.join("root");
    for name in MERGED {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for archive in fs::read_dir(folder.join("archives"))? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            unpack_one(&archive, &root).with_context(|| format!("unpack {}", archive.display()))?;
        }
    }
    Ok(())
}

/// By tar, as dpkg-deb would replace the links to merged folders.
fn unpack_one(archive: &Path, root: &Path) -> Result<()> {
    let mut read =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped()).spawn()?;
    let content = read.stdout.take().expect("it was piped");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"]).arg(root);
    let written = tar.stdin(content).status()?;
    if !read.wait()?.success() || !written.success() {
        bail!("its content cannot be read or written");
    }
    Ok(())
}
