//! What the operator is told: flags, each with an environment variable of the same meaning.

use std::{collections::BTreeMap, env, net::SocketAddr, str::FromStr};

use clap::{Parser, Subcommand, value_parser};
use forward_plan::Overrides;

use crate::build::{Peers, Pods};

/// Runs the plugins of a cluster: brings them up, over and down in dependency order.
#[derive(Parser)]
#[command(name = "forward-operator", version)]
pub struct Args {
    #[command(flatten)]
    pub operator: OperatorArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(clap::Args)]
pub struct OperatorArgs {
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "FORWARD_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The Lease that decides which replica acts.
    #[arg(long, env = "FORWARD_LEASE", default_value = "forward-operator")]
    pub lease: String,
    /// The namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "forward-system")]
    pub namespace: String,
    /// This replica's name: what it writes into the Lease and its events.
    #[arg(long, env = "POD_NAME", default_value = "forward-operator")]
    pub identity: String,
    /// How many plugins are worked on at the same time.
    #[arg(long, env = "FORWARD_CONCURRENCY", default_value_t = 16)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// The Service by which the API server reaches the webhook; the Secret of the same name holds
    /// its certificates. Absent: there is no webhook.
    #[arg(long, env = "FORWARD_WEBHOOK")]
    pub webhook: Option<String>,
    /// Where the webhook is answered.
    #[arg(long, env = "FORWARD_WEBHOOK_LISTEN", default_value = "0.0.0.0:8443")]
    pub webhook_listen: SocketAddr,
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Who is outside of the plugins' namespaces. Network policies let them in, or out to them.
#[derive(clap::Args)]
pub struct NetworkArgs {
    /// The namespace of the gateway's pods.
    #[arg(long, env = "FORWARD_GATEWAY_NAMESPACE", default_value = "forward-system")]
    pub gateway_namespace: String,
    /// The labels of the gateway's pods: `key=value`, joined by commas.
    #[arg(
        long,
        env = "FORWARD_GATEWAY_SELECTOR",
        default_value = "app.kubernetes.io/name=goforward,app.kubernetes.io/component=gateway"
    )]
    pub gateway_selector: Labels,
    /// The namespace of the pods that answer DNS.
    #[arg(long, env = "FORWARD_DNS_NAMESPACE", default_value = "kube-system")]
    pub dns_namespace: String,
    /// The labels of the pods that answer DNS.
    #[arg(long, env = "FORWARD_DNS_SELECTOR", default_value = "k8s-app=kube-dns")]
    pub dns_selector: Labels,
}

/// Labels as people write them: `a=1,b=2`. At least one, for none would be those of all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

/// Why a text is not labels.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not key=value; write labels as app=gateway,tier=front")]
pub struct ParseLabelsError(String);

impl FromStr for Labels {
    type Err = ParseLabelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |part: &str| match part.trim().split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(ParseLabelsError(part.to_owned())),
        };
        text.split(',').map(label).collect::<Result<_, _>>().map(Self)
    }
}

impl NetworkArgs {
    pub fn peers(&self) -> Peers {
        let Self { gateway_namespace, gateway_selector, dns_namespace, dns_selector } = self;
        let pods = |namespace: &String, labels: &Labels| Pods {
            namespace: namespace.clone(),
            labels: labels.0.clone(),
        };
        Peers { gateway: pods(gateway_namespace, gateway_selector), dns: pods(dns_namespace, dns_selector) }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Exit with 0 when every URL answers with a status below 400.
    Check {
        /// Plain http URLs.
        #[arg(required = true)]
        urls: Vec<axum::http::Uri>,
    },
    /// Take the operator's finalizer off every plugin, so that plugins can be deleted when no
    /// operator runs any more.
    Release {
        /// Delete the definitions of Plugin and PluginSystem too, and with them all plugins.
        #[arg(long)]
        delete_crds: bool,
    },
}

/// The settings of plugins that the environment overrides. What is wrong with a variable is logged:
/// it must not keep the operator from running all plugins.
pub fn overrides() -> Overrides {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let (overrides, errors) = Overrides::read(env::vars_os().filter_map(text));
    for error in errors {
        tracing::warn!(%error, "a variable is not heeded");
    }
    overrides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_and_refuses_none() {
        let labels: Labels = "app.kubernetes.io/name=goforward, tier=".parse().unwrap();
        let expected = [("app.kubernetes.io/name", "goforward"), ("tier", "")];
        assert_eq!(labels.0, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for text in ["", "a", "=b", "a=b,"] {
            assert!(text.parse::<Labels>().is_err(), "{text:?}");
        }
    }
}
