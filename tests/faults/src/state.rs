//! What there is in a namespace, without what differs from one run to the next: names that are
//! made up, times, counts of writes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use forward_crds::{PLUGIN_LABEL, Plugin};
use forward_tests::TestNamespace;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Fields that say when, how often or under which made-up name.
const FLEETING: [&str; 18] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generation",
    "observedGeneration",
    "lastTransitionTime",
    "lastUpdateTime",
    "stateTime",
    "timings",
    "timestamp",
    "clusterIP",
    "clusterIPs",
    "collisionCount",
    "deployment.kubernetes.io/revision",
    "disruptedPods",
];
/// The word for what a Deployment was made from, which begins with the generation of its plugin.
const REVISION: &str = "goforward.dev/revision";
/// How many differences are told.
const TOLD: usize = 6;

/// The objects of a namespace's plugins, and the plugins, by `Kind/name`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<String, Value>);

impl State {
    /// What there is now.
    pub async fn of(namespace: &TestNamespace) -> Result<Self> {
        let mut state = Self::default();
        state.add::<Plugin>(namespace, "").await?;
        let owned = PLUGIN_LABEL;
        state.add::<Deployment>(namespace, owned).await?;
        state.add::<Service>(namespace, owned).await?;
        state.add::<ServiceAccount>(namespace, owned).await?;
        state.add::<ConfigMap>(namespace, owned).await?;
        state.add::<NetworkPolicy>(namespace, owned).await?;
        state.add::<PodDisruptionBudget>(namespace, owned).await?;
        Ok(state)
    }

    /// The part of it that is about one plugin.
    pub fn about(&self, plugin: &str) -> Self {
        let is_about = |key: &str, object: &Value| {
            key == format!("Plugin/{plugin}") || object["metadata"]["labels"][PLUGIN_LABEL] == plugin
        };
        Self(self.0.iter().filter(|(key, object)| is_about(key, object)).map(clone).collect())
    }

    /// The same without the spec of the plugins, which is what was asked for and not what came of
    /// it, and without the mark that there was a change.
    pub fn effects(mut self) -> Self {
        for (key, object) in &mut self.0 {
            if key.starts_with("Plugin/") {
                object.as_object_mut().and_then(|object| object.remove("spec"));
            }
            remove(object, &[REVISION]);
        }
        self
    }

    /// The reason of each plugin's condition Ready, by its name.
    pub fn reasons(&self) -> BTreeMap<&str, &str> {
        let plugins = self.0.iter().filter_map(|(key, object)| Some((key.strip_prefix("Plugin/")?, object)));
        plugins.map(|(name, plugin)| (name, reason(plugin, "Ready").unwrap_or_default())).collect()
    }

    /// Where it is not the same as `expected`; nothing where it is.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        let (found, expected) = (self.leaves(), expected.leaves());
        let places = found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>();
        let value = |leaves: &BTreeMap<String, String>, place| leaves.get(place).cloned().unwrap_or_default();
        let differences: Vec<String> = places
            .into_iter()
            .filter(|place| found.get(*place) != expected.get(*place))
            .map(|place| {
                format!("{place}: expected {:?}, found {:?}", value(&expected, place), value(&found, place))
            })
            .collect();
        let more = differences.len().saturating_sub(TOLD);
        let told = differences.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n  ");
        (!differences.is_empty()).then(|| format!("{told}\n  and {more} more"))
    }

    fn leaves(&self) -> BTreeMap<String, String> {
        let mut leaves = BTreeMap::new();
        for (key, object) in &self.0 {
            add_leaves(key, object, &mut leaves);
        }
        leaves
    }

    async fn add<K>(&mut self, namespace: &TestNamespace, labels: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let kind = K::kind(&());
        let list = namespace.api::<K>().list(&ListParams::default().labels(labels)).await;
        for object in list.with_context(|| format!("list {kind}"))? {
            let text = serde_json::to_string(&object)?.replace(&namespace.name, "NAMESPACE");
            let mut value: Value = serde_json::from_str(&text)?;
            if kind == "Deployment" {
                // How far the rollout of a ReplicaSet came, with its name; the counts beside it say the same.
                value["status"].as_object_mut().and_then(|status| status.remove("conditions"));
            }
            remove(&mut value, &FLEETING);
            sort(&mut value);
            self.0.insert(format!("{kind}/{}", object.name_any()), value);
        }
        Ok(())
    }
}

/// How many pods of plugins there are.
pub async fn count_pods(namespace: &TestNamespace) -> Result<usize> {
    Ok(namespace.api::<Pod>().list(&ListParams::default().labels(PLUGIN_LABEL)).await?.items.len())
}

fn reason<'a>(plugin: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = plugin["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)?["reason"].as_str()
}

fn clone((key, object): (&String, &Value)) -> (String, Value) {
    (key.clone(), object.clone())
}

fn remove(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !names.contains(&key.as_str()));
            map.values_mut().for_each(|value| remove(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| remove(value, names)),
        _ => {}
    }
}

/// The server orders lists of a status by who wrote first.
fn sort(value: &mut Value) {
    let Some(status) = value.get_mut("status") else { return };
    for list in ["conditions", "dependencies"] {
        if let Some(list) = status.get_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
}

fn add_leaves(place: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| add_leaves(&format!("{place} {key}"), value, leaves));
        }
        Value::Array(list) if !list.is_empty() => {
            let numbered = list.iter().enumerate();
            numbered.for_each(|(number, value)| add_leaves(&format!("{place} {number}"), value, leaves));
        }
        value => {
            leaves.insert(place.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_where_two_states_differ() {
        let state = |value: Value| State([("Service/a".to_owned(), value)].into());
        let one = state(json!({"spec": {"ports": [{"port": 1}]}}));
        assert_eq!(one.difference(&one), None);
        let told = state(json!({"spec": {"ports": [{"port": 2}]}})).difference(&one).unwrap();
        assert!(told.starts_with("Service/a spec ports 0 port: expected \"1\", found \"2\""), "{told}");
        assert!(State::default().difference(&one).is_some());
    }
}
