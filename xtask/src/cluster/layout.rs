//! Where everything of one cluster lies and what it is called. Pure: touches nothing.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::paths;

/// The node's name and address, the same in every cluster: each has a network of its own.
pub const NODE: &str = "node";
pub const NODE_ADDRESS: &str = "10.199.0.2";
pub const NODE_GATEWAY: &str = "10.199.0.1";
pub const POD_CIDR: &str = "10.244.0.0/16";
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The first address of the services' range: `kubernetes.default`.
pub const API_SERVICE: &str = "10.96.0.1";
pub const API_PORT: u16 = 6443;
/// The node's port at which the chart is told to serve the gateway.
pub const GATEWAY_NODE_PORT: u16 = 30080;
/// Holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "forward.local/pause:1.0.0";

/// A cluster's name: short, as it becomes part of paths that must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// The machine's loopback ports behind which the cluster is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub api: u16,
    pub gateway: u16,
}

/// One cluster's places.
#[derive(Clone, Debug)]
pub struct Layout {
    pub name: Name,
    /// Everything that may be large or is worth a look.
    pub dir: PathBuf,
    /// Sockets and container state: their paths must be short.
    pub run: PathBuf,
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
        if text.is_empty() || text.len() > 12 || !text.chars().all(fits) {
            bail!("a cluster's name is 1 to 12 lower-case letters and digits");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Name {
    /// The ports to take when they are free, so that a demo's address can be remembered.
    pub fn preferred_ports(&self) -> Ports {
        match self.0.as_str() {
            "demo" => Ports { api: 26443, gateway: 28080 },
            "tests" => Ports { api: 26444, gateway: 28081 },
            "dev" => Ports { api: 26445, gateway: 28082 },
            _ => Ports { api: 0, gateway: 0 },
        }
    }
}

impl Layout {
    pub fn new(name: Name) -> Result<Self> {
        let dir = paths::cache()?.join("clusters").join(&name.0);
        let run = PathBuf::from(format!("/run/forward-{name}"));
        Ok(Self { name, dir, run })
    }

    /// Held by whoever changes the cluster. Beside its folder, which comes and goes.
    pub fn lock(&self) -> PathBuf {
        self.dir.with_extension("lock")
    }

    /// Held by a run that needs the cluster for itself.
    pub fn reservation(&self) -> PathBuf {
        self.dir.with_extension("reserved")
    }

    /// Exists once the cluster was seen working.
    pub fn ready(&self) -> PathBuf {
        self.dir.join("ready")
    }

    pub fn ports(&self) -> PathBuf {
        self.dir.join("ports.json")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The same rights, for programs within the cluster's network.
    pub fn inner_kubeconfig(&self) -> PathBuf {
        self.etc("admin.kubeconfig")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// A link to the policy that decides what is in the audit log.
    pub fn audit_policy(&self) -> PathBuf {
        self.etc("audit.yaml")
    }

    pub fn pids(&self) -> PathBuf {
        self.dir.join("pids")
    }

    pub fn pid(&self, component: &str) -> PathBuf {
        self.pids().join(component)
    }

    pub fn log(&self, component: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{component}.log"))
    }

    pub fn etc(&self, file: &str) -> PathBuf {
        self.dir.join("etc").join(file)
    }

    pub fn pki(&self, file: &str) -> PathBuf {
        self.dir.join("pki").join(file)
    }

    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    pub fn netns(&self) -> String {
        format!("fwd-{}", self.name)
    }

    pub fn netns_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.netns())
    }

    /// The control group below which all its pods run.
    pub fn cgroup(&self) -> String {
        format!("/fwd-{}", self.name)
    }

    /// A link to the programs that it was started with.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// A link to the program of simulated nodes.
    pub fn kwok(&self) -> PathBuf {
        self.dir.join("kwok")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_names_that_are_safe_in_paths() {
        assert!("demo2".parse::<Name>().is_ok());
        for wrong in ["", "Demo", "a-b", "..", "a/b", "abcdefghijklm"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
