//! The part of the tests that a real cluster is started for.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{Failed, ON_CLUSTER, Suite};
use crate::{
    cluster::{
        self,
        component::Shape,
        layout::{GATEWAY_NODE_PORT, Layout},
        start::read_ports,
    },
    gitops, images, paths,
    release::{self, Target},
};

const CLUSTER: &str = "tests";

impl Suite {
    /// Runs the tests on a new cluster, which ends with them.
    pub(super) fn on_cluster(&mut self, filter: Option<&str>, keep: bool) -> Result<(), Failed> {
        let layout = CLUSTER.parse().and_then(Layout::new);
        let layout = self.must(layout)?;
        self.heading("a cluster with Forward on it");
        let reserved = cluster::reserve(&layout);
        let _reserved = self.must(reserved)?;
        let ready = set_up(&layout);
        let outcome = match self.must(ready) {
            Ok(variables) => {
                self.tests("tests on the cluster", &["--package", ON_CLUSTER], filter, |cargo| {
                    cargo.envs(variables)
                })
            }
            Err(failed) => Err(failed),
        };
        if outcome.is_err() {
            let kept = keep_logs(&layout);
            self.must(kept)?;
        }
        if !keep {
            let stopped = cluster::stop(&layout);
            self.must(stopped)?;
        }
        outcome
    }
}

/// Gives the variables by which the tests find the cluster.
fn set_up(layout: &Layout) -> Result<Vec<(&'static str, String)>> {
    if artifacts().exists() {
        fs::remove_dir_all(artifacts()).context("remove what an earlier run left")?;
    }
    fs::create_dir_all(artifacts())?;
    let all: Vec<_> = images::IMAGES.iter().collect();
    let archives = images::build(&all, "image")?.into_iter().map(|image| image.archive).collect();
    // A new one even if one is running: what an earlier run left on it could hide a fault.
    cluster::stop(layout)?;
    cluster::start(layout, Shape::default())?;
    cluster::load(layout, archives)?;
    let target = Target { environment: cluster::environment(layout), context: None };
    let settings = ["type=NodePort".to_owned(), format!("nodePort={GATEWAY_NODE_PORT}")];
    release::install(&target, &settings.map(|setting| format!("gateway.service.{setting}")))?;
    let mut variables = target.environment;
    variables.extend([
        ("FORWARD_CLUSTER", layout.name.to_string()),
        ("FORWARD_GATEWAY_URL", format!("http://127.0.0.1:{}", read_ports(layout)?.gateway)),
        ("FORWARD_AUDIT_LOG", layout.audit_log().display().to_string()),
        ("FORWARD_ARTIFACTS", artifacts().display().to_string()),
        ("FORWARD_GITOPS", gitops::ensure()?.display().to_string()),
        ("FORWARD_XTASK", own_copy()?.display().to_string()),
    ]);
    Ok(variables)
}

/// This program in a place where no later build replaces it while tests call it.
fn own_copy() -> Result<PathBuf> {
    let copy = artifacts().join("xtask");
    fs::copy("/proc/self/exe", &copy).context("copy this program for the tests")?;
    Ok(copy)
}

/// What failing tests leave.
fn artifacts() -> PathBuf {
    paths::target().join("test-artifacts")
}

/// The cluster's own logs go with it otherwise.
fn keep_logs(layout: &Layout) -> Result<()> {
    let folder = artifacts().join("cluster");
    fs::create_dir_all(&folder)?;
    let logs = layout.dir.join("logs");
    if logs.exists() {
        for log in fs::read_dir(&logs)? {
            let log = log?;
            fs::copy(log.path(), folder.join(log.file_name())).context("keep the cluster's logs")?;
        }
    }
    if layout.audit_log().exists() {
        fs::copy(layout.audit_log(), folder.join("audit.log"))?;
    }
    println!("\nobjects, events and logs of what failed: {}", artifacts().display());
    Ok(())
}
