//! The NetworkPolicy of a plugin: who reaches its pods, and what they reach.

use std::collections::BTreeMap;

use forward_crds::{Egress, Network, NetworkMode, PLUGIN_LABEL, Plugin, PluginSystemSpec};
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::{HOOK_OF, Input, PORT, metadata};

/// Label that Kubernetes puts on every namespace: its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Start of the label on a plugin's pods for each plugin that they may reach; that one's name
/// follows, and its policy lets in who has the label. So nobody's policy depends on who needs them.
const REACHES: &str = "goforward.dev/reaches.";
const DNS_PORT: i32 = 53;
/// What the name of the policy for a plugin's hooks ends with; names of plugins hold no dot.
pub const HOOK_POLICY: &str = ".hooks";

/// Pods of another namespace that every plugin has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
}

/// Who stands outside of a plugin's namespace, as policies see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    pub gateway: Pods,
    pub dns: Pods,
}

/// The labels by which the pods of a plugin are let in by those they may reach.
pub fn reach_labels(plugin: &Plugin) -> BTreeMap<String, String> {
    let dependencies = plugin.spec.dependencies.iter().map(|dependency| dependency.name.as_str());
    let network = plugin.spec.sandbox.as_ref().and_then(|sandbox| sandbox.network.as_ref());
    let others =
        network.iter().flat_map(|network| &network.egress).filter_map(|egress| egress.plugin.as_deref());
    dependencies.chain(others).map(reach_label).collect()
}

/// The label by which a pod is let in by a plugin.
pub fn reach_label(name: &str) -> (String, String) {
    (format!("{REACHES}{name}"), "true".to_owned())
}

pub fn network_policy(input: &Input<'_>) -> NetworkPolicy {
    let plugin = input.plugin;
    let (mode, egress) = outwards(input);
    let types = [Some("Ingress"), egress.is_some().then_some("Egress")];
    NetworkPolicy {
        metadata: metadata(plugin, plugin.name_any()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector([(PLUGIN_LABEL.to_owned(), plugin.name_any())].into())),
            policy_types: Some(types.into_iter().flatten().map(str::to_owned).collect()),
            ingress: Some(vec![ingress(plugin, mode, &input.peers.gateway)]),
            egress,
        }),
    }
}

/// The policy of the pods of the plugin's hooks: they reach what the plugin reaches, and the plugin,
/// and nobody reaches them. No plugin can have its name.
pub fn hook_policy(input: &Input<'_>) -> NetworkPolicy {
    let name = input.plugin.name_any();
    let (mode, mut egress) = outwards(input);
    if mode == NetworkMode::Declared {
        egress.iter_mut().for_each(|rules| rules.push(to_plugin(&name)));
    }
    let types = [Some("Ingress"), egress.is_some().then_some("Egress")];
    NetworkPolicy {
        metadata: metadata(input.plugin, format!("{name}{HOOK_POLICY}")),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector([(HOOK_OF.to_owned(), name)].into())),
            policy_types: Some(types.into_iter().flatten().map(str::to_owned).collect()),
            ingress: Some(Vec::new()),
            egress,
        }),
    }
}

/// How far pods of the plugin reach, and the rules that say so.
fn outwards(input: &Input<'_>) -> (NetworkMode, Option<Vec<NetworkPolicyEgressRule>>) {
    let plugin = input.plugin;
    let network =
        plugin.spec.sandbox.as_ref().and_then(|sandbox| sandbox.network.clone()).unwrap_or_default();
    let mode = mode(&network, input.system);
    let egress = match mode {
        NetworkMode::None => Some(Vec::new()),
        NetworkMode::Declared => Some(declared(plugin, &network, &input.peers.dns)),
        NetworkMode::All => None,
    };
    (mode, egress)
}

fn mode(network: &Network, system: Option<&PluginSystemSpec>) -> NetworkMode {
    let Network { mode, egress } = network;
    let declared = (!egress.is_empty()).then_some(NetworkMode::Declared);
    let defaults = system.and_then(|system| system.sandbox.as_ref());
    let default = defaults.and_then(|sandbox| sandbox.network.as_ref()).and_then(|network| network.mode);
    mode.or(declared).or(default).unwrap_or_default()
}

/// The gateway, and who may reach the plugin: on its port, by the name that each pod gives it, for
/// pods of two templates can have two.
fn ingress(plugin: &Plugin, mode: NetworkMode, gateway: &Pods) -> NetworkPolicyIngressRule {
    let dependents = [(format!("{REACHES}{}", plugin.name_any()), "true".to_owned())];
    let dependents = (mode != NetworkMode::None).then(|| neighbours(dependents.into()));
    NetworkPolicyIngressRule {
        from: Some([Some(elsewhere(gateway)), dependents].into_iter().flatten().collect()),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(PORT.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}

fn declared(plugin: &Plugin, network: &Network, dns: &Pods) -> Vec<NetworkPolicyEgressRule> {
    let names = NetworkPolicyEgressRule {
        to: Some(vec![elsewhere(dns)]),
        ports: Some(vec![port("UDP", DNS_PORT), port("TCP", DNS_PORT)]),
    };
    let dependencies = plugin.spec.dependencies.iter().map(|dependency| to_plugin(&dependency.name));
    std::iter::once(names).chain(dependencies).chain(network.egress.iter().filter_map(rule)).collect()
}

/// What an entry allows; nothing for one that names nothing, which the API server refuses.
fn rule(egress: &Egress) -> Option<NetworkPolicyEgressRule> {
    let Egress { plugin, pods, cidr, except, ports } = egress;
    if let Some(name) = plugin {
        return Some(to_plugin(name));
    }
    let peer = match cidr {
        Some(cidr) => NetworkPolicyPeer {
            ip_block: Some(IPBlock { cidr: cidr.clone(), except: Some(except.clone()) }),
            ..NetworkPolicyPeer::default()
        },
        None if pods.is_empty() => return None,
        None => neighbours(pods.clone()),
    };
    let ports = ports.iter().map(|number| port("TCP", *number)).collect();
    Some(NetworkPolicyEgressRule { to: Some(vec![peer]), ports: Some(ports) })
}

/// To whatever port: which one it listens on is the other plugin's to say, and its policy's to hold.
fn to_plugin(name: &str) -> NetworkPolicyEgressRule {
    let peer = neighbours([(PLUGIN_LABEL.to_owned(), name.to_owned())].into());
    NetworkPolicyEgressRule { to: Some(vec![peer]), ports: Some(Vec::new()) }
}

/// Pods of the plugin's own namespace.
fn neighbours(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(labels)), ..NetworkPolicyPeer::default() }
}

fn elsewhere(pods: &Pods) -> NetworkPolicyPeer {
    let Pods { namespace, labels } = pods;
    NetworkPolicyPeer {
        namespace_selector: Some(selector([(NAMESPACE_NAME.to_owned(), namespace.clone())].into())),
        pod_selector: Some(selector(labels.clone())),
        ip_block: None,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_plugin_says_goes_before_what_the_namespace_says() {
        let mode = |network: serde_json::Value, system: Option<&str>| {
            let system = system.map(|mode| json!({"sandbox": {"network": {"mode": mode}}}));
            let system = system.map(|system| serde_json::from_value(system).unwrap());
            mode(&serde_json::from_value(network).unwrap(), system.as_ref())
        };
        let egress = json!({"egress": [{"plugin": "a"}]});
        assert_eq!(mode(json!({}), None), NetworkMode::All);
        assert_eq!(mode(json!({}), Some("None")), NetworkMode::None);
        assert_eq!(mode(egress.clone(), None), NetworkMode::Declared);
        assert_eq!(mode(egress, Some("None")), NetworkMode::Declared);
        assert_eq!(mode(json!({"mode": "All"}), Some("None")), NetworkMode::All);
    }

    #[test]
    fn a_label_for_the_longest_name_is_one() {
        let name = format!("{REACHES}{}", "a".repeat(50));
        let (_, part) = name.split_once('/').unwrap();
        assert!(part.len() <= 63, "{} characters", part.len());
    }
}
