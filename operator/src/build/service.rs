//! The Service that gives a plugin its name in the cluster, and its ServiceAccount.

use forward_crds::{PLUGIN_LABEL, Plugin};
use k8s_openapi::{
    api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use super::{PORT, metadata};

pub fn service(plugin: &Plugin) -> Service {
    Service {
        metadata: metadata(plugin, plugin.name_any()),
        spec: Some(ServiceSpec {
            selector: Some([(PLUGIN_LABEL.to_owned(), plugin.name_any())].into()),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: 80,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// An account without any right, so that plugins can be told apart; its token is not mounted.
pub fn account(plugin: &Plugin) -> Option<ServiceAccount> {
    if plugin.spec.template.as_ref().is_some_and(|template| template.service_account_name.is_some()) {
        return None;
    }
    Some(ServiceAccount {
        metadata: metadata(plugin, plugin.name_any()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}
