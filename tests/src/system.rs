//! What tests do to Forward's own pods.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, api::DeleteParams};

use crate::{Cluster, SYSTEM_NAMESPACE};

impl Cluster {
    /// The pods of the operator and the gateway.
    pub fn system_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE)
    }

    /// The pod of the operator that holds the Lease.
    pub async fn leader(&self) -> Result<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let lease = leases.get("forward-operator").await?;
        lease.spec.and_then(|spec| spec.holder_identity).context("the lease has a holder")
    }
}

/// Without grace: as if the process had been killed.
pub fn at_once() -> DeleteParams {
    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
}

/// How often a pod's containers were started again.
pub fn restarts_of(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).sum()
}

/// Send a signal (`KILL`, `STOP`, `CONT`) to the processes of a pod's containers. The cluster runs on this
/// machine, so the pod's control groups name them.
pub fn signal(pod: &Pod, signal: &str) -> Result<()> {
    let uid = pod.metadata.uid.as_deref().context("a uid")?;
    let mut reached = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // What holds the pod's namespaces is no container of it.
        if groups.contains(uid) && program.trim() != "pause" {
            let sent = Command::new("kill").arg("-s").arg(signal).arg(entry.file_name()).status()?;
            reached += usize::from(sent.success());
        }
    }
    ensure!(reached > 0, "no process of {:?} was found", pod.metadata.name);
    Ok(())
}
