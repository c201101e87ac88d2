//! What a cluster is made of, as data: which program with which arguments.

use std::path::PathBuf;

use super::layout::{API_PORT, Layout, NODE, NODE_ADDRESS, POD_CIDR, Ports, SERVICE_CIDR};

/// One program of the cluster.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Runs in the cluster's network.
    pub inside: bool,
}

/// What a cluster is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    pub node: Node,
    pub audit: Audit,
}

/// Which calls the API server writes down.
#[derive(Clone, Copy, Debug, Default)]
pub enum Audit {
    /// All writes, whoever made them.
    #[default]
    Writes,
    /// All calls of the operator and none of others: writing them down has a price, too.
    Operator,
}

/// What runs a cluster's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Node {
    /// One node that runs containers.
    #[default]
    Real,
    /// Several nodes without containers: KWOK says of each pod that it runs.
    Simulated,
}

/// The names of all components, in the order in which they start. A cluster has those of its kind of node.
pub const NAMES: &[&str] = &[
    "forwarder",
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "kwok",
];

impl Audit {
    /// The file of the policy that says so.
    pub fn policy(self) -> &'static str {
        match self {
            Self::Writes => "audit-policy.yaml",
            Self::Operator => "audit-operator.yaml",
        }
    }
}

impl Component {
    /// The component of this name; `NAMES` holds them all.
    pub fn named(name: &'static str, layout: &Layout) -> Self {
        let arguments = match name {
            "forwarder" => return Self::forwarder(layout, layout.name.preferred_ports()),
            "etcd" => etcd(layout),
            "containerd" => vec![format!("--config={}", layout.etc("containerd.toml").display())],
            "kube-apiserver" => api_server(layout),
            "kube-controller-manager" => controller_manager(layout),
            "kube-scheduler" => scheduler(layout),
            "kubelet" => kubelet(layout),
            "kube-proxy" => vec![format!("--config={}", layout.etc("kube-proxy.yaml").display())],
            "coredns" => vec![format!("-conf={}", layout.etc("Corefile").display())],
            "kwok" => kwok(layout),
            other => unreachable!("{other} is not in the list of components"),
        };
        let program = if name == "kwok" { layout.kwok() } else { layout.bin().join(name) };
        Self { name, program, arguments, inside: true }
    }

    /// The forwarder enters the cluster's network by itself, with sockets from outside.
    pub fn forwarder(layout: &Layout, ports: Ports) -> Self {
        let arguments = [
            "cluster".to_owned(),
            "forward".to_owned(),
            format!("--netns={}", layout.netns_path().display()),
            format!("--report={}", layout.ports().display()),
            format!("--api={}", ports.api),
            format!("--gateway={}", ports.gateway),
        ];
        Self {
            name: "forwarder",
            program: "/proc/self/exe".into(),
            arguments: arguments.into(),
            inside: false,
        }
    }
}

fn etcd(layout: &Layout) -> Vec<String> {
    vec![
        format!("--data-dir={}", layout.dir.join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        // Its data ends with the cluster: nothing is gained by waiting for the disk.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn api_server(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    vec![
        format!("--advertise-address={NODE_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--token-auth-file={}", layout.etc("tokens.csv").display()),
        format!("--kubelet-client-certificate={}", pki("apiserver-to-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-to-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--max-requests-inflight=800".into(),
        "--max-mutating-requests-inflight=400".into(),
        format!("--audit-policy-file={}", layout.audit_policy().display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
        "--profiling=false".into(),
    ]
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    vec![
        kubeconfig(layout, "kube-controller-manager"),
        format!("--root-ca-file={}", layout.pki("ca.crt").display()),
        format!("--cluster-signing-cert-file={}", layout.pki("ca.crt").display()),
        format!("--cluster-signing-key-file={}", layout.pki("ca.key").display()),
        format!("--service-account-private-key-file={}", layout.pki("service-accounts.key").display()),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        // Otherwise a test of many plugins measures this one's own limits.
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
        "--concurrent-deployment-syncs=20".into(),
        "--concurrent-endpoint-syncs=20".into(),
        "--concurrent-replicaset-syncs=20".into(),
        "--concurrent-service-endpoint-syncs=20".into(),
    ]
}

fn scheduler(layout: &Layout) -> Vec<String> {
    vec![
        kubeconfig(layout, "kube-scheduler"),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
    ]
}

fn kubelet(layout: &Layout) -> Vec<String> {
    vec![
        kubeconfig(layout, "kubelet"),
        format!("--config={}", layout.etc("kubelet.yaml").display()),
        format!("--root-dir={}", layout.dir.join("kubelet").display()),
        format!("--cert-dir={}", layout.dir.join("kubelet-pki").display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={NODE_ADDRESS}"),
    ]
}

/// It keeps the nodes ready by their leases.
fn kwok(layout: &Layout) -> Vec<String> {
    vec![
        kubeconfig(layout, "kwok"),
        format!("--config={}", layout.etc("stages.yaml").display()),
        "--manage-all-nodes".into(),
        // Otherwise there are none, and after as many seconds the nodes would be taken for lost.
        "--node-lease-duration-seconds=40".into(),
        // Otherwise it writes a line for each pod.
        "--v=WARN".into(),
        format!("--cidr={POD_CIDR}"),
        format!("--node-ip={NODE_ADDRESS}"),
    ]
}

fn kubeconfig(layout: &Layout, user: &str) -> String {
    format!("--kubeconfig={}", layout.etc(&format!("{user}.kubeconfig")).display())
}
