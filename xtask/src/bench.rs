//! `cargo xtask bench operator`: a cluster with simulated nodes, and on it the program that measures.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    cluster::{
        self,
        component::{Audit, Node, Shape},
        layout::{Layout, Name},
        pki,
        start::read_ports,
    },
    exec, images, paths,
    release::{self, Target},
};

/// Measure Forward, and print what was measured next to what is wanted.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    Operator(OperatorArgs),
}

/// The operator at size, with the real API server and simulated nodes. The program runs on this machine
/// as it is in the image, with the rights that the chart gives it.
#[derive(clap::Args)]
struct OperatorArgs {
    /// Leave the cluster running afterwards, to look at it.
    #[arg(long)]
    keep: bool,
    /// The cluster; it is made anew.
    #[arg(long, default_value = "bench")]
    name: Name,
    /// For the program that measures: --plugins N, --size N, --only together,chain,size.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

const OPERATOR: &str = "forward-operator";
const PROGRAM: &str = "forward-bench";
const WEBHOOK: &str = "forward-operator-webhook";

pub fn run(args: &Args) -> Result<()> {
    let Subject::Operator(args) = &args.subject;
    let programs = images::compile(&[OPERATOR, PROGRAM].into(), "image")?;
    let layout = Layout::new(args.name.clone())?;
    let _reserved = cluster::reserve(&layout)?;
    cluster::stop(&layout)?;
    cluster::start(&layout, Shape { node: Node::Simulated, audit: Audit::Operator })?;
    let target = Target { environment: cluster::environment(&layout), context: None };
    let outcome = set_up(&layout, &target).and_then(|()| {
        let mut measure = Command::new(programs.join(PROGRAM));
        measure
            .args(&args.rest)
            .current_dir(layout.dir.join("logs"))
            .envs(target.environment.iter().map(|(name, value)| (name, value)))
            .env("FORWARD_OPERATOR", programs.join(OPERATOR))
            .env("FORWARD_OPERATOR_KUBECONFIG", layout.etc("operator.kubeconfig"))
            .env("FORWARD_WEBHOOK", WEBHOOK)
            .env("FORWARD_NAMESPACE", release::NAMESPACE)
            .env("FORWARD_AUDIT_LOG", layout.audit_log())
            .env("FORWARD_API_SERVER", cluster::process(&layout, "kube-apiserver")?.to_string());
        match exec::tee(&mut measure, |_| {})? {
            true => Ok(()),
            false => bail!("not everything could be measured"),
        }
    });
    if !args.keep {
        cluster::stop(&layout)?;
    }
    outcome
}

/// The API of Forward, and the operator's identity with its rights.
fn set_up(layout: &Layout, target: &Target) -> Result<()> {
    let namespace = ["--namespace", release::NAMESPACE];
    exec::output(target.kubectl().args(["create", "namespace", release::NAMESPACE]))?;
    let crds = paths::repository().join("crds/yaml");
    exec::output(target.kubectl().args(["apply", "--server-side", "--filename"]).arg(crds))?;
    let rights = exec::output(
        target
            .helm()
            .args(["template", release::NAME])
            .arg(paths::repository().join("charts/goforward"))
            .args(namespace)
            .arg("--show-only=templates/operator/rbac.yaml"),
    )?;
    exec::feed(target.kubectl().args(["apply", "--server-side", "--filename=-"]).args(namespace), &rights)?;
    // Where the operator puts the certificates of its webhook, which only the program asks.
    exec::output(target.kubectl().args(["create", "secret", "generic", WEBHOOK]).args(namespace))?;
    let token =
        exec::output(target.kubectl().args(["create", "token", OPERATOR, "--duration=24h"]).args(namespace))?;
    let path = layout.etc("operator.kubeconfig");
    pki::write_kubeconfig_of(layout, &path, read_ports(layout)?.api, token.trim())
}
