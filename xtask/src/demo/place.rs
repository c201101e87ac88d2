//! Where the demo happens: on a cluster made here, or on one that is there.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    cluster::{
        self,
        component::Shape,
        layout::{GATEWAY_NODE_PORT, Layout},
        start::read_ports,
    },
    exec,
    images::{Built, REGISTRY},
    machine,
    progress::Step,
    release::{self, Target},
};

pub enum Place {
    /// The cluster "demo" of this machine.
    Own(Layout),
    /// Somebody's cluster, by its context, and the registry it pulls from.
    Given { context: String, registry: Option<String> },
}

impl Place {
    pub fn new(context: Option<String>, registry: Option<String>) -> Result<Self> {
        let registry = registry.map(|registry| registry.trim_end_matches('/').to_owned());
        match context {
            Some(context) => Ok(Self::Given { context, registry }),
            None => Ok(Self::Own(Layout::new("demo".parse()?)?)),
        }
    }

    /// Fails early where it could only fail late.
    pub fn check(&self) -> Result<()> {
        let Self::Given { context, registry } = self else {
            return machine::prepare();
        };
        exec::output(self.target().kubectl().args(["get", "--raw=/readyz"]))
            .with_context(|| format!("reach the cluster of the context \"{context}\""))?;
        exec::output(Command::new("helm").args(["version", "--short"])).context("helm installs the chart")?;
        if registry.is_none() && kind(context).is_none() {
            bail!(
                "this is not a kind cluster: say where it pulls images from, as in --push registry.example/forward"
            );
        }
        Ok(())
    }

    /// Gets the images to where the cluster finds them; makes the cluster first if it is ours.
    pub fn prepare(&self, images: &[Built]) -> Result<()> {
        match self {
            Self::Own(layout) => {
                cluster::start(layout, Shape::default())?;
                cluster::load(layout, images.iter().map(|image| image.archive.clone()).collect())
            }
            Self::Given { registry: Some(registry), .. } => push(images, registry),
            Self::Given { context, registry: None } => {
                load_into_kind(images, kind(context).context("a kind cluster")?)
            }
        }
    }

    pub fn target(&self) -> Target {
        match self {
            Self::Own(layout) => Target { environment: cluster::environment(layout), context: None },
            Self::Given { context, .. } => Target { environment: Vec::new(), context: Some(context.clone()) },
        }
    }

    /// The registry in the images' names.
    pub fn registry(&self) -> &str {
        match self {
            Self::Given { registry: Some(registry), .. } => registry,
            Self::Own(_) | Self::Given { .. } => REGISTRY,
        }
    }

    /// The chart's values.
    pub fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("image.registry={}", self.registry())];
        if let Self::Own(_) = self {
            settings.push("gateway.service.type=NodePort".into());
            settings.push(format!("gateway.service.nodePort={GATEWAY_NODE_PORT}"));
        }
        settings
    }

    /// Opens a way to the gateway.
    pub fn gateway(&self) -> Result<Gateway> {
        match self {
            Self::Own(layout) => Ok(Gateway { port: read_ports(layout)?.gateway, _tunnel: None }),
            Self::Given { .. } => {
                let (port, tunnel) = Tunnel::open(&self.target())?;
                Ok(Gateway { port, _tunnel: Some(tunnel) })
            }
        }
    }

    pub fn how_to_go_on(&self) -> String {
        match self {
            Self::Own(layout) => {
                let port = read_ports(layout).map_or(0, |ports| ports.gateway);
                format!(
                    "  export KUBECONFIG={} PATH=\"{}:$PATH\"\n  \
                     curl http://127.0.0.1:{port}/hello/you\n  \
                     kubectl get plugins --watch\n  \
                     kubectl explain plugin.spec\n  \
                     cargo xtask demo --down\n\
                     The shop: http://127.0.0.1:{port}/",
                    layout.kubeconfig().display(),
                    layout.bin().display()
                )
            }
            Self::Given { context, .. } => format!(
                "  kubectl --context {context} --namespace {} port-forward service/forward-gateway 8080:80\n  \
                 kubectl --context {context} get plugins --watch\n  \
                 kubectl --context {context} explain plugin.spec\n  \
                 cargo xtask demo --context {context} --down\n\
                 The shop, while the first of them runs: http://127.0.0.1:8080/",
                release::NAMESPACE
            ),
        }
    }

    pub fn take_down(&self) -> Result<()> {
        match self {
            Self::Own(layout) => cluster::stop(layout),
            Self::Given { .. } => {
                super::delete_examples(&self.target())?;
                release::uninstall(&self.target())
            }
        }
    }
}

/// The name of the kind cluster that a context leads to.
fn kind(context: &str) -> Option<&str> {
    context.strip_prefix("kind-")
}

fn load_into_kind(images: &[Built], cluster: &str) -> Result<()> {
    let step = Step::begin(format!("loading {} images into the kind cluster \"{cluster}\"", images.len()));
    for image in images {
        exec::output(
            Command::new("kind").args(["load", "image-archive", "--name", cluster]).arg(&image.archive),
        )?;
    }
    step.done();
    Ok(())
}

/// By skopeo, as it needs neither Docker nor root to push an archive.
fn push(images: &[Built], registry: &str) -> Result<()> {
    if exec::output(Command::new("skopeo").arg("--version")).is_err() {
        machine::install(&["skopeo"]).context("images are pushed by skopeo, which is missing")?;
    }
    let step = Step::begin(format!("pushing {} images to {registry}", images.len()));
    for Built { reference, archive, .. } in images {
        let name = reference.trim_start_matches(REGISTRY).trim_start_matches('/');
        step.detail(name);
        let (archive, target) =
            (format!("oci-archive:{}", archive.display()), format!("docker://{registry}/{name}"));
        // A registry on the loopback is somebody's experiment: it has no certificate.
        let verify = format!("--dest-tls-verify={}", !is_local(registry));
        let mut skopeo = Command::new("skopeo");
        exec::output(skopeo.args(["--insecure-policy", "copy", &verify, &archive, &target]))?;
    }
    step.done();
    Ok(())
}

fn is_local(registry: &str) -> bool {
    matches!(registry.split([':', '/']).next(), Some("localhost" | "127.0.0.1"))
}

/// A loopback port behind which the gateway is, as long as this lives.
pub struct Gateway {
    pub port: u16,
    _tunnel: Option<Tunnel>,
}

/// A way to the gateway of a cluster that is elsewhere, open as long as this lives.
struct Tunnel {
    kubectl: Child,
    /// Kept open, as kubectl says something at each connection and ends when nobody listens.
    _output: BufReader<ChildStdout>,
}

impl Tunnel {
    fn open(target: &Target) -> Result<(u16, Self)> {
        let mut kubectl = target.kubectl();
        kubectl.args(["--namespace", release::NAMESPACE, "port-forward", "service/forward-gateway", ":80"]);
        let mut kubectl =
            kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run kubectl")?;
        let mut output = BufReader::new(kubectl.stdout.take().expect("it was piped"));
        let mut line = String::new();
        let read = output.read_line(&mut line);
        let tunnel = Self { kubectl, _output: output };
        read?;
        // Forwarding from 127.0.0.1:40123 -> 8080
        let port = line.split(" -> ").next().and_then(|from| from.rsplit(':').next()?.parse().ok());
        Ok((port.context("open a way to the gateway")?, tunnel))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // It has ended already, if anything: there is nobody left to tell.
        self.kubectl.kill().and_then(|()| self.kubectl.wait()).ok();
    }
}
