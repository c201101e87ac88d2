//! Starts a cluster, from nothing to a node that takes pods.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    build, cgroup,
    clean::clean,
    component::{Component, NAMES, Node, Shape},
    layout::{API_PORT, Layout, NODE, NODE_ADDRESS, PAUSE_IMAGE, POD_CIDR, Ports},
    load, network, pki, process,
};
use crate::{exec, exec::await_some, machine, paths, progress::Step};

const BOUND: Duration = Duration::from_secs(90);

/// Files that are made from the templates in `tests/cluster/config`.
const TEMPLATES: &[(&str, &str)] = &[
    ("Corefile", "Corefile"),
    ("audit-operator.yaml", "audit-operator.yaml"),
    ("audit-policy.yaml", "audit-policy.yaml"),
    ("cni.conflist", "cni/forward.conflist"),
    ("containerd.toml", "containerd.toml"),
    ("kube-proxy.yaml", "kube-proxy.yaml"),
    ("kubelet.yaml", "kubelet.yaml"),
    ("nodes.yaml", "nodes.yaml"),
    ("stages.yaml", "stages.yaml"),
];

/// Does nothing to a cluster that is running as it should. The caller holds its lock.
pub fn start(layout: &Layout, shape: Shape) -> Result<()> {
    if is_running(layout) {
        if shape.node != kind(layout) {
            bail!("cluster \"{}\" runs with another kind of node: stop it first", layout.name);
        }
        return Ok(());
    }
    machine::prepare()?;
    let programs = build::ensure(&build::KUBERNETES)?;
    let kwok = (shape.node == Node::Simulated).then(|| build::ensure(&build::KWOK)).transpose()?;
    let step = Step::begin(format!("starting the cluster \"{}\"", layout.name));
    step.detail("removing what an earlier one left");
    // Its old ports first, so that a kubeconfig that was copied stays good.
    let ports = read_ports(layout).unwrap_or_else(|_none| layout.name.preferred_ports());
    clean(layout, false)?;
    if let Err(error) = bring_up(layout, &programs, kwok.as_deref(), shape, ports, &step) {
        let logs = logs_of_dead(layout);
        clean(layout, true)?;
        return Err(error.context(format!(
            "the cluster did not start; its logs: {}{logs}",
            layout.dir.join("logs").display()
        )));
    }
    step.done();
    Ok(())
}

/// Whether it was seen working and each of its components still lives.
pub fn is_running(layout: &Layout) -> bool {
    layout.ready().exists() && dead(layout).is_empty()
}

/// Which kind of node a running cluster has.
fn kind(layout: &Layout) -> Node {
    if layout.kwok().exists() { Node::Simulated } else { Node::Real }
}

/// The ports on the loopback that the cluster took.
pub fn read_ports(layout: &Layout) -> Result<Ports> {
    let text = fs::read_to_string(layout.ports())
        .with_context(|| format!("cluster \"{}\" is not running", layout.name))?;
    Ok(serde_json::from_str(&text)?)
}

fn bring_up(
    layout: &Layout,
    programs: &Path,
    kwok: Option<&Path>,
    shape: Shape,
    ports: Ports,
    step: &Step,
) -> Result<()> {
    step.detail("network and files");
    network::create(layout)?;
    cgroup::create(&layout.cgroup())?;
    write_files(layout, programs)?;
    if let Some(kwok) = kwok {
        symlink(kwok.join("kwok"), layout.kwok())?;
    }
    symlink(shape.audit.policy(), layout.audit_policy())?;

    step.detail("API server");
    process::start(layout, &Component::forwarder(layout, ports))?;
    if kwok.is_none() {
        start_all(layout, &["containerd"])?;
    }
    start_all(layout, &["etcd", "kube-apiserver"])?;
    let ports = await_living("the forwarder", layout, || Ok(read_ports(layout).ok()))?;
    pki::write_kubeconfig(layout, ports.api)?;
    await_api_server(layout)?;

    step.detail("node");
    start_all(layout, &["kube-controller-manager", "kube-scheduler"])?;
    match kwok {
        None => start_node(layout, programs)?,
        Some(_) => simulate_nodes(layout)?,
    }
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    let mut ask = kubectl(layout);
    ask.args(["get", "nodes", "--output", path]);
    await_living("every node to be ready", layout, || {
        let said = exec::output(&mut ask)?;
        Ok((!said.is_empty() && said.split(' ').all(|ready| ready == "True")).then_some(()))
    })?;
    fs::write(layout.ready(), "").context("remember that it works")
}

fn start_node(layout: &Layout, programs: &Path) -> Result<()> {
    await_living("containerd", layout, || Ok(load::is_up(layout).then_some(())))?;
    let pause = layout.dir.join("pause.tar");
    build::write_pause(programs, &pause)?;
    load::import(layout, &pause)?;
    start_all(layout, &["kubelet", "kube-proxy", "coredns"])
}

fn simulate_nodes(layout: &Layout) -> Result<()> {
    start_all(layout, &["kwok"])?;
    exec::output(kubectl(layout).args(["apply", "--server-side", "--filename"]).arg(layout.etc("nodes.yaml")))
        .map(drop)
}

fn start_all(layout: &Layout, names: &[&'static str]) -> Result<()> {
    names.iter().try_for_each(|name| process::start(layout, &Component::named(name, layout)))
}

/// Waits until the API server answers that it is ready.
pub fn await_api_server(layout: &Layout) -> Result<()> {
    await_living("the API server", layout, || {
        Ok(exec::output(kubectl(layout).args(["get", "--raw=/readyz"])).ok().map(drop))
    })
}

/// Waits, unless a component that was started has died meanwhile.
fn await_living<T>(what: &str, layout: &Layout, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    await_some(what, BOUND, || match dead(layout).as_slice() {
        [] => ask(),
        dead => bail!("{} died", dead.join(", ")),
    })
}

/// Components that were started and are no more.
fn dead(layout: &Layout) -> Vec<&'static str> {
    let started = |name: &&&str| layout.pid(name).exists();
    NAMES.iter().filter(started).filter(|name| !process::is_running(layout, name)).copied().collect()
}

fn logs_of_dead(layout: &Layout) -> String {
    const LINES: usize = 8;
    let mut text = String::new();
    for name in dead(layout) {
        let log = fs::read_to_string(layout.log(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        text += &format!("\n--- {name}\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
    }
    text
}

/// The cluster's own kubectl, as administrator.
pub fn kubectl(layout: &Layout) -> Command {
    let mut kubectl = Command::new(layout.bin().join("kubectl"));
    kubectl.env("KUBECONFIG", layout.kubeconfig());
    kubectl
}

fn write_files(layout: &Layout, programs: &Path) -> Result<()> {
    for folder in ["etc/cni", "logs", "pids", "pki"] {
        fs::create_dir_all(layout.dir.join(folder))?;
    }
    fs::create_dir_all(&layout.run)?;
    symlink(programs, layout.bin())?;
    pki::write(layout)?;
    pki::write_users(layout, &format!("https://{NODE_ADDRESS}:{API_PORT}"))?;
    fs::write(layout.etc("resolv.conf"), format!("nameserver {NODE_ADDRESS}\n"))?;
    for (template, file) in TEMPLATES {
        let path = paths::repository().join("tests/cluster/config").join(template);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(layout.etc(file), fill(&text, layout)?)?;
    }
    Ok(())
}

fn fill(template: &str, layout: &Layout) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in [
        ("name", layout.name.to_string()),
        ("dir", layout.dir.display().to_string()),
        ("run", layout.run.display().to_string()),
        ("cgroup", layout.cgroup()),
        ("containerd_socket", layout.containerd_socket().display().to_string()),
        ("node", NODE.to_owned()),
        ("node_address", NODE_ADDRESS.to_owned()),
        ("pause_image", PAUSE_IMAGE.to_owned()),
        ("pod_cidr", POD_CIDR.to_owned()),
    ] {
        text = text.replace(&format!("${{{name}}}"), &value);
    }
    if let Some(rest) = text.split("${").nth(1) {
        bail!("nothing is known for ${{{}", rest.lines().next().unwrap_or_default());
    }
    Ok(text)
}
