//! What the embedded cluster wants of a machine: root, Go, Debian's packages.
//! Whatever is missing and can be installed is; the rest is one clear error.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{exec, progress::Step};

const GO: (u32, u32) = (1, 26);

/// Ends every error that another cluster would get round.
pub const OTHERWISE: &str = "\n       With a Kubernetes of your own nothing of this is needed: \
                             cargo xtask demo --context NAME";

/// A file that shows whether a Debian package is installed.
struct Package {
    name: &'static str,
    shown_by: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "busybox-static", shown_by: "/usr/share/doc/busybox-static" },
    Package { name: "containernetworking-plugins", shown_by: "/usr/lib/cni/ptp" },
    Package { name: "iproute2", shown_by: "/usr/share/doc/iproute2" },
    Package { name: "nftables", shown_by: "/usr/sbin/nft" },
    Package { name: "runc", shown_by: "/usr/share/doc/runc" },
];

/// Fails unless a cluster can run here; installs the packages that are missing.
pub fn prepare() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the embedded cluster runs containers and so needs root.{OTHERWISE}");
    }
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !Path::new(package.shown_by).exists()).collect();
    if !missing.is_empty() {
        install(&missing.iter().map(|package| package.name).collect::<Vec<_>>())?;
    }
    check_kernel()
}

/// Fails unless the Go that builds Kubernetes is there.
pub fn check_go() -> Result<()> {
    let Ok(said) = exec::output(Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))
    else {
        bail!("Go is missing: Kubernetes is built by Go {}.{} or newer.{OTHERWISE}", GO.0, GO.1);
    };
    if parse_go(&said).is_none_or(|found| found < GO) {
        bail!(
            "this is Go {}, but Kubernetes is built by {}.{} or newer.{OTHERWISE}",
            said.trim(),
            GO.0,
            GO.1
        );
    }
    Ok(())
}

fn parse_go(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix("go")?.split(['.', 'r', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Installs Debian packages, or says which are wanted where that cannot be done.
pub fn install(names: &[&str]) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these Debian packages are missing: {}.{OTHERWISE}", names.join(", "));
    }
    let step = Step::begin(format!("installing Debian packages: {}", names.join(", ")));
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // Lists that are absent or name packages that are gone by now: fetch them and try again.
    if exec::output(&mut install).is_err() {
        exec::output(Command::new("apt-get").args(["update", "--quiet"]))
            .context("fetch the package lists")?;
        exec::output(&mut install)?;
    }
    step.done();
    Ok(())
}

fn check_kernel() -> Result<()> {
    let mut missing = Vec::new();
    let known = fs::read_to_string("/proc/filesystems").context("read what the kernel offers")?;
    if !known.contains("overlay") && exec::output(Command::new("modprobe").arg("overlay")).is_err() {
        missing.push("overlay file systems");
    }
    if !Path::new("/proc/self/ns/net").exists() {
        missing.push("network namespaces");
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        && !Path::new("/sys/fs/cgroup/memory").exists()
    {
        missing.push("control groups with a memory controller, mounted at /sys/fs/cgroup");
    }
    if !missing.is_empty() {
        bail!("this kernel cannot run containers; it lacks {}.{OTHERWISE}", missing.join(" and "));
    }
    Ok(())
}

/// The search path with the places where Debian keeps what root runs.
pub fn search_path(first: &Path) -> String {
    let inherited = env::var("PATH").unwrap_or_default();
    format!("{}:{inherited}:/usr/local/sbin:/usr/sbin:/sbin", first.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases_and_candidates() {
        assert_eq!(parse_go("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse_go("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go("devel"), None);
    }
}
