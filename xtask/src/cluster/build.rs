//! Builds Kubernetes and its company from Go modules, once a machine: what was built
//! lies in the user's cache under a hash of everything that decides what it is.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::layout::PAUSE_IMAGE;
use crate::{
    go::{build, once},
    images::oci::{self, Entry, Image},
    paths,
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

/// The folder with a bundle's programs, built if it is not there.
pub fn ensure(bundle: &Bundle) -> Result<PathBuf> {
    let flags = linker_flags()?;
    let folder = paths::cache()?.join("kubernetes").join(hash(bundle, &flags)?);
    once(&folder, &format!("building {} (once a machine)", bundle.what), |unfinished, step| {
        fs::create_dir_all(unfinished)?;
        for module in bundle.modules {
            let linked = ["-ldflags", flags.as_str()];
            build(&source(module), &linked, &unfinished.join(""), module.packages, step)?;
        }
        complete(bundle, unfinished)
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
