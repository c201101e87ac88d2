//! What the gateway would say of each plugin. Simulated pods have no process that a gateway could
//! ask, so this one takes every pod that is ready at its word: registered, healthy, and running with
//! the configuration that its Deployment was given.

use std::{collections::BTreeMap, pin::pin};

use anyhow::{Context, Result};
use forward_crds::{Condition, Plugin, PluginStatus, Reload, ReloadStatus, Word};
use forward_tests::TestNamespace;
use futures::StreamExt;
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::task::JoinHandle;

/// The field manager of the gateway.
const MANAGER: &str = "forward-gateway";
/// Where a Deployment says which configuration its pods were given.
const CONFIG_HASH: &str = "goforward.dev/config-hash";

/// It speaks for the gateway until it is dropped.
pub struct Registrar(JoinHandle<()>);

impl Drop for Registrar {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Known {
    plugins: Api<Plugin>,
    plugin: BTreeMap<String, Plugin>,
    deployment: BTreeMap<String, Deployment>,
}

/// The gateway's part of a status.
#[derive(PartialEq)]
struct Said {
    conditions: Vec<Condition>,
    reload: Option<Box<ReloadStatus>>,
}

impl Registrar {
    /// Speak for the gateway in a namespace.
    pub fn start(namespace: &TestNamespace) -> Self {
        let (plugins, deployments) = (namespace.api::<Plugin>(), namespace.api::<Deployment>());
        let known = Known { plugins: plugins.clone(), plugin: BTreeMap::new(), deployment: BTreeMap::new() };
        Self(tokio::spawn(known.follow(plugins, deployments)))
    }
}

impl Known {
    async fn follow(mut self, plugins: Api<Plugin>, deployments: Api<Deployment>) {
        let all = watcher::Config::default;
        let mut plugins = pin!(watcher(plugins, all()).default_backoff().touched_objects());
        let mut deployments = pin!(watcher(deployments, all()).default_backoff().touched_objects());
        loop {
            let touched = tokio::select! {
                Some(plugin) = plugins.next() => plugin.map(|plugin| keep(&mut self.plugin, plugin)),
                Some(deployment) = deployments.next() => {
                    deployment.map(|deployment| keep(&mut self.deployment, deployment))
                }
                else => return,
            };
            // The watches go on after errors. A plugin that is gone by now needs no registration.
            if let Ok(name) = touched {
                self.register(&name).await.ok();
            }
        }
    }

    async fn register(&self, name: &str) -> Result<()> {
        let Some(plugin) = self.plugin.get(name).filter(|it| it.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        let before = plugin.status.clone().unwrap_or_default();
        let said = Said::of(plugin, &before, self.deployment.get(name));
        if said == Said::before(before) {
            return Ok(());
        }
        let status = json!({"conditions": said.conditions, "reload": said.reload});
        let body = json!({
            "apiVersion": Plugin::api_version(&()), "kind": Plugin::kind(&()),
            "metadata": {"name": name, "uid": plugin.uid()}, "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.plugins.patch_status(name, &params, &Patch::Apply(body)).await.context("register")?;
        Ok(())
    }
}

fn keep<K: ResourceExt>(known: &mut BTreeMap<String, K>, object: K) -> String {
    let name = object.name_any();
    if object.meta().deletion_timestamp.is_some() {
        known.remove(&name);
    } else {
        known.insert(name.clone(), object);
    }
    name
}

impl Said {
    fn of(plugin: &Plugin, before: &PluginStatus, deployment: Option<&Deployment>) -> Self {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0) > 0;
        let condition = |type_: &str, status: &str, reason: &str| {
            let same = before.conditions.iter().find(|it| it.type_ == type_ && it.status == status);
            Condition {
                type_: type_.into(),
                status: status.into(),
                reason: reason.into(),
                message: Word::default(),
                observed_generation: plugin.metadata.generation,
                last_transition_time: same
                    .map_or(Time(Timestamp::now()), |it| it.last_transition_time.clone()),
            }
        };
        let conditions = if ready {
            vec![condition("Healthy", "True", "Healthy"), condition("Registered", "True", "Registered")]
        } else {
            vec![
                condition("Healthy", "Unknown", "Unknown"),
                condition("Registered", "False", "NoReadyEndpoints"),
            ]
        };
        let given = deployment.and_then(|deployment| deployment.annotations().get(CONFIG_HASH));
        let reloads = ready && plugin.spec.reload == Reload::InPlace;
        let reload = given
            .filter(|_| reloads)
            .map(|hash| ReloadStatus { config_hash: hash.clone(), message: None }.into());
        Self { conditions, reload }
    }

    fn before(status: PluginStatus) -> Self {
        let PluginStatus { mut conditions, reload, .. } = status;
        conditions.retain(|condition| ["Healthy", "Registered"].contains(&condition.type_.as_str()));
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        Self { conditions, reload }
    }
}
