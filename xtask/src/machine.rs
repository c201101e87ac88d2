//! What the embedded cluster and the tests want of a machine: root, Go, Debian's packages.
//! Whatever is missing and can be installed is; the rest is one clear error.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{exec, images::debian, progress::Step};

const GO: (u32, u32) = (1, 26);

/// Ends every error that another cluster would get round.
pub const OTHERWISE: &str = "\n       With a Kubernetes of your own nothing of this is needed: \
                             cargo xtask demo --context NAME";

/// A file that shows whether a Debian package is installed.
struct Package {
    name: &'static str,
    shown_by: &'static str,
}

const FOR_CLUSTER: &[Package] = &[
    Package { name: "containernetworking-plugins", shown_by: "/usr/lib/cni/ptp" },
    Package { name: "iproute2", shown_by: "/usr/share/doc/iproute2" },
    Package { name: "nftables", shown_by: "/usr/sbin/nft" },
    Package { name: "runc", shown_by: "/usr/share/doc/runc" },
];

/// What the tests of the examples start as processes of their own. None of it is a service that
/// would start by itself; Redis is within its tools.
const FOR_TESTS: &[Package] = &[
    Package { name: "chromium", shown_by: "/usr/bin/chromium" },
    Package { name: "chromium-driver", shown_by: "/usr/bin/chromedriver" },
    Package { name: "postgresql", shown_by: "/usr/lib/postgresql" },
    Package { name: "redis-tools", shown_by: "/usr/bin/redis-check-rdb" },
];

/// What the bench counts instructions with.
const FOR_BENCH: &[Package] = &[Package { name: "valgrind", shown_by: "/usr/bin/valgrind" }];

/// The settings by which Debian's PostgreSQL makes a first database when it is installed.
const FIRST_DATABASE: &str = "/etc/postgresql-common/createcluster.conf";

/// Fails unless a cluster can run here; installs the packages that are missing.
pub fn prepare() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the embedded cluster runs containers and so needs root.{OTHERWISE}");
    }
    let missing = missing(FOR_CLUSTER);
    if !missing.is_empty() {
        install(&missing)?;
    }
    check_kernel()
}

/// Prometheus's own checker of alerts. Its package is unpacked and not installed: installing it would
/// start a Prometheus.
pub fn promtool() -> Result<PathBuf> {
    Ok(debian::fetch(&["prometheus"])?.join("usr/bin/promtool"))
}

/// The library that gives a program another time of day than the machine's. It is unpacked, as above.
pub fn faketime() -> Result<PathBuf> {
    let folder = format!("usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    Ok(debian::fetch(&["libfaketime"])?.join(folder).join("libfaketimeMT.so.1"))
}

/// Fails unless the tests that need no cluster can run here; gets the packages that are missing.
pub fn prepare_tests() -> Result<()> {
    promtool()?;
    let missing = missing(FOR_TESTS);
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the tests want Debian packages, and installing them takes root: {}", missing.join(", "));
    }
    let settings = Path::new(FIRST_DATABASE);
    if missing.contains(&"postgresql") && !settings.exists() {
        fs::create_dir_all(settings.parent().context("a folder for the settings")?)?;
        let refusal = "# Written before the package was installed for tests of Forward, which need its programs only.\n\
                       create_main_cluster = false\n";
        fs::write(settings, refusal).with_context(|| format!("write {FIRST_DATABASE}"))?;
    }
    install(&missing)
}

/// Gets what the bench of the gateway starts besides the proxies.
pub fn prepare_bench() -> Result<()> {
    let missing = missing(FOR_BENCH);
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|package| !Path::new(package.shown_by).exists())
        .map(|package| package.name)
        .collect()
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
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Settings that were there first stay, and nobody is asked.
        .env("UCF_FORCE_CONFFOLD", "1");
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
