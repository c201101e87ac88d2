//! Builds Kubernetes and its company from Go modules, once a machine: what was built
//! lies in the user's cache under a hash of everything that decides what it is.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::layout::PAUSE_IMAGE;
use crate::{
    exec,
    images::oci::{self, Entry, Image},
    machine, paths,
    progress::Step,
};

/// What is built together from one Go module: the packages, and the module's files
/// that decide the outcome.
struct Module {
    folder: &'static str,
    packages: &'static [&'static str],
    files: &'static [&'static str],
}

/// Programs that are built and kept together.
pub struct Bundle {
    what: &'static str,
    modules: &'static [Module],
    /// Further names of programs.
    links: &'static [(&'static str, &'static str)],
}

const MODULE: Module = Module {
    folder: "kubernetes",
    packages: &[
        ".",
        "./pause",
        "go.etcd.io/etcd/server/v3",
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
        "helm.sh/helm/v4/cmd/helm",
    ],
    files: &["go.mod", "go.sum", "main.go", "pause/main.go"],
};

/// What a real node takes, and the control plane of both kinds of cluster.
pub const KUBERNETES: Bundle = Bundle {
    what: "Kubernetes, etcd, containerd, CoreDNS and Helm",
    modules: &[
        MODULE,
        Module { folder: "coredns", packages: &["."], files: &["go.mod", "go.sum", "main.go"] },
    ],
    // The names by which the one program of all components is called, and etcd's.
    links: &[
        ("kube-apiserver", "kubernetes"),
        ("kube-controller-manager", "kubernetes"),
        ("kube-scheduler", "kubernetes"),
        ("kubelet", "kubernetes"),
        ("kube-proxy", "kubernetes"),
        ("kubectl", "kubernetes"),
        ("etcd", "server"),
    ],
};

/// What simulated nodes take.
pub const KWOK: Bundle = Bundle {
    what: "KWOK",
    modules: &[Module {
        folder: "kwok",
        packages: &["sigs.k8s.io/kwok/cmd/kwok"],
        files: &["go.mod", "go.sum"],
    }],
    links: &[],
};

const UNFINISHED: &str = "unfinished-";

/// The folder with a bundle's programs, built if it is not there.
pub fn ensure(bundle: &Bundle) -> Result<PathBuf> {
    let flags = linker_flags()?;
    let folder = paths::cache()?.join("kubernetes").join(hash(bundle, &flags)?);
    if folder.exists() {
        return Ok(folder);
    }
    machine::check_go()?;
    let parent = folder.parent().context("the cache")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("lock"))?;
    let step = Step::begin(format!("building {} (once a machine)", bundle.what));
    step.detail("another build is running");
    lock.lock()?;
    if !folder.exists() {
        remove_unfinished(parent)?;
        // A killed run's compiler may go on for a while: it must not write into this one's.
        let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
        fs::create_dir_all(&unfinished)?;
        for module in bundle.modules {
            build(module, &flags, &unfinished, &step)?;
        }
        complete(bundle, &unfinished)?;
        fs::rename(&unfinished, &folder)?;
    }
    step.done();
    Ok(folder)
}

fn remove_unfinished(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path()).context("remove what a killed build left")?;
        }
    }
    Ok(())
}

fn build(module: &Module, flags: &str, target: &Path, step: &Step) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", flags, "-o"])
        .arg(target.join(""))
        .args(module.packages)
        .current_dir(source(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "");
    let mut packages = 0;
    exec::watch(&mut go, |line| {
        if let Some(download) = line.strip_prefix("go: downloading ") {
            step.detail(format!("fetching {download}"));
        } else {
            packages += 1;
            step.detail(format!("{packages} packages, {line}"));
        }
    })
}

fn complete(bundle: &Bundle, folder: &Path) -> Result<()> {
    for (link, program) in bundle.links {
        symlink(program, folder.join(link))?;
    }
    Ok(())
}

/// Writes the image that holds a pod's namespaces. It is made anew for each cluster: what was built
/// once stays for long, and how images are written changes.
pub fn write_pause(programs: &Path, archive: &Path) -> Result<()> {
    let pause = Image {
        reference: PAUSE_IMAGE.into(),
        entries: [("pause".into(), Entry::File(programs.join("pause")))].into(),
        entrypoint: vec!["/pause".into()],
        user: 65535,
    };
    oci::write(&pause, archive)?;
    Ok(())
}

/// Without a version Kubernetes knows neither its feature gates nor what it may talk to.
fn linker_flags() -> Result<String> {
    let module = fs::read_to_string(source(&MODULE).join("go.mod"))?;
    let version = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .context("find the version of Kubernetes in go.mod")?;
    let (major, rest) = version.split_once('.').context("a version")?;
    let (minor, _) = rest.split_once('.').context("a version")?;
    let base = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {base}.gitVersion=v{version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion=v{version}"
    ))
}

fn hash(bundle: &Bundle, flags: &str) -> Result<String> {
    let mut hash = Sha256::new_with_prefix(flags);
    for module in bundle.modules {
        hash.update(module.packages.join(" "));
        for file in module.files {
            let path = source(module).join(file);
            hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    for (link, program) in bundle.links {
        hash.update(format!("{link} {program} "));
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn source(module: &Module) -> PathBuf {
    paths::repository().join("tests/cluster").join(module.folder)
}
