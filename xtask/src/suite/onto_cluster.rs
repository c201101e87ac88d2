//! The parts of the tests that a cluster is started for.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{Failed, Suite, cargo_quietly};
use crate::{
    cluster::{
        self,
        component::{Node, Shape},
        layout::{GATEWAY_NODE_PORT, Layout},
        start::read_ports,
    },
    gitops, images, machine, paths,
    release::{self, Target},
};

/// A cluster, and the package of the tests that want it.
pub(super) struct Stage {
    cluster: &'static str,
    pub package: &'static str,
    heading: &'static str,
    set_up: fn(&Layout) -> Result<Variables>,
}

/// By which the tests find what they need.
type Variables = Vec<(&'static str, String)>;

/// One after the other: two clusters at a time would be slow.
pub(super) const STAGES: [Stage; 2] = [
    Stage {
        cluster: "simulated",
        package: "forward-faults",
        heading: "tests of the operator on a simulated cluster",
        set_up: set_up_simulated,
    },
    Stage { cluster: "tests", package: "forward-tests", heading: "tests on the cluster", set_up },
];

impl Suite {
    /// Runs the tests of a stage, chosen by these arguments, on a new cluster, which ends with them.
    pub(super) fn on_cluster(
        &mut self,
        stage: &Stage,
        tests: &[&str],
        filter: Option<&str>,
        keep: bool,
    ) -> Result<(), Failed> {
        let layout = stage.cluster.parse().and_then(Layout::new);
        let layout = self.must(layout)?;
        self.heading(&format!("a cluster \"{}\"", stage.cluster));
        let reserved = cluster::reserve(&layout);
        let _reserved = self.must(reserved)?;
        // Together, or dependencies would have other features for the program, and be built once more.
        let built = cargo_quietly(&[&["build", "--bin", "forward-operator"], tests].concat());
        let ready = built.and_then(|()| (stage.set_up)(&layout));
        let outcome = match self.must(ready) {
            Ok(variables) => self.tests(stage.heading, tests, filter, |cargo| cargo.envs(variables)),
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

/// Takes away what the tests of an earlier run left.
pub(super) fn clear_artifacts() -> Result<()> {
    if artifacts().exists() {
        fs::remove_dir_all(artifacts()).context("remove what an earlier run left")?;
    }
    fs::create_dir_all(artifacts()).context("make a folder for what failing tests leave")
}

/// A node that runs containers, and Forward on it.
fn set_up(layout: &Layout) -> Result<Variables> {
    let all: Vec<_> = images::IMAGES.iter().collect();
    let archives = images::build(&all, "image")?.into_iter().map(|image| image.archive).collect();
    // A new one even if one is running: what an earlier run left on it could hide a fault.
    cluster::stop(layout)?;
    cluster::start(layout, Shape::default())?;
    cluster::load(layout, archives)?;
    let target = Target { environment: cluster::environment(layout), context: None };
    let settings = [
        "service.type=NodePort".to_owned(),
        format!("service.nodePort={GATEWAY_NODE_PORT}"),
        // Receivers of alerts are plugins of the tests.
        "alerts.plainReceivers[0]=http://forward-gateway.forward-system".to_owned(),
        // A test makes the keys.
        "apiKeys.secretNames[0]=payments".to_owned(),
        // Nobody is there until a test has a plugin take what comes. A share, as in earnest: all would
        // be most of what the gateway does in tests under load.
        "tracing.endpoint=http://otel-collector.forward-system".to_owned(),
        "tracing.sampleRatio=0.05".to_owned(),
    ];
    release::install(&target, &settings.map(|setting| format!("gateway.{setting}")))?;
    let mut variables = variables(layout, target);
    variables.extend([
        ("FORWARD_GATEWAY_URL", format!("http://127.0.0.1:{}", read_ports(layout)?.gateway)),
        ("FORWARD_GITOPS", gitops::ensure()?.display().to_string()),
        ("FORWARD_XTASK", own_copy()?.display().to_string()),
    ]);
    Ok(variables)
}

/// Nodes that only say that pods run. The chart is there for its definitions and for the rights that
/// it gives; its pods are simulated like all others, and the tests start the operator themselves.
fn set_up_simulated(layout: &Layout) -> Result<Variables> {
    cluster::stop(layout)?;
    cluster::start(layout, Shape { node: Node::Simulated, ..Shape::default() })?;
    let target = Target { environment: cluster::environment(layout), context: None };
    // Nobody answers at the webhook's address: the tests put it up where that is what they test.
    release::install(&target, &["webhook.enabled=false".to_owned()])?;
    let mut variables = variables(layout, target);
    variables.extend([
        ("FORWARD_OPERATOR", paths::target().join("debug/forward-operator").display().to_string()),
        ("FORWARD_FAKETIME", machine::faketime()?.display().to_string()),
    ]);
    Ok(variables)
}

/// What tests on every cluster need.
fn variables(layout: &Layout, target: Target) -> Variables {
    let mut variables = target.environment;
    variables.extend([
        ("FORWARD_CLUSTER", layout.name.to_string()),
        ("FORWARD_AUDIT_LOG", layout.audit_log().display().to_string()),
        ("FORWARD_ARTIFACTS", artifacts().display().to_string()),
    ]);
    variables
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
    let folder = artifacts().join(format!("cluster-{}", layout.name));
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
