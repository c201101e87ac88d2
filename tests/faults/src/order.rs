//! Whether each step comes in its turn, by what there is at the moment before it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use forward_crds::{PLUGIN_LABEL, Plugin};
use forward_tests::TestNamespace;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};

use crate::call::{Call, Verb};

/// Where a Deployment says what it was made from, and its pods which version they are.
const REVISION: &str = "goforward.dev/revision";
const VERSION: &str = "goforward.dev/version";

/// Watches over the order of steps in a namespace.
#[derive(Clone)]
pub struct Judge {
    plugins: Api<Plugin>,
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    namespace: String,
    verdicts: Arc<Mutex<Verdicts>>,
}

/// What came of the steps so far.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// How many steps had an order to keep.
    pub judged: usize,
    /// Those that broke it.
    pub broken: Vec<String>,
}

/// What there is at a moment, by plugin.
struct Moment {
    plugins: BTreeMap<String, Plugin>,
    deployments: BTreeMap<String, Deployment>,
    pods: BTreeMap<String, usize>,
}

impl Judge {
    /// Judge the steps in a namespace.
    pub fn new(namespace: &TestNamespace) -> Self {
        Self {
            plugins: namespace.api(),
            deployments: namespace.api(),
            pods: namespace.api(),
            namespace: namespace.name.clone(),
            verdicts: Arc::default(),
        }
    }

    /// What came of the steps so far.
    pub fn verdicts(&self) -> Verdicts {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judge a write that is about to be carried out.
    pub async fn judge(&self, call: &Call) {
        if !call.is_on("deployments", "") || call.namespace != self.namespace {
            return;
        }
        let wrong = match self.moment().await {
            Ok(moment) => moment.judge(call),
            Err(error) => vec![format!("{call} could not be judged: {error:#}")],
        };
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.judged += 1;
        verdicts.broken.extend(wrong);
    }

    async fn moment(&self) -> Result<Moment> {
        let all = ListParams::default();
        let plugins = self.plugins.list(&all).await.context("list plugins")?;
        let deployments = self.deployments.list(&all).await.context("list deployments")?;
        let mut pods = BTreeMap::new();
        for pod in self.pods.list(&all).await.context("list pods")? {
            if let Some(plugin) = pod.labels().get(PLUGIN_LABEL) {
                *pods.entry(plugin.clone()).or_default() += 1;
            }
        }
        Ok(Moment { plugins: named(plugins), deployments: named(deployments), pods })
    }
}

fn named<K: ResourceExt>(list: impl IntoIterator<Item = K>) -> BTreeMap<String, K> {
    list.into_iter().map(|object| (object.name_any(), object)).collect()
}

impl Moment {
    fn judge(&self, call: &Call) -> Vec<String> {
        let stops = call.verb == Verb::Delete || call.body["spec"]["replicas"] == 0;
        if stops { self.judge_stop(call) } else { self.judge_start(call) }
    }

    /// What runs and needs a plugin that is stopped.
    fn judge_stop(&self, call: &Call) -> Vec<String> {
        let needs = |plugin: &&Plugin| required(plugin).any(|name| name == call.name);
        let runs = |plugin: &&Plugin| self.pods.contains_key(&plugin.name_any());
        let dependents = self.plugins.values().filter(needs).filter(runs);
        dependents
            .map(|dependent| format!("{call}, while {} runs and needs it", dependent.name_any()))
            .collect()
    }

    /// What a plugin needs that does not run in its current version. A Deployment that stays as it
    /// was has no order to keep.
    fn judge_start(&self, call: &Call) -> Vec<String> {
        let before = self.deployments.get(&call.name).and_then(|it| it.annotations().get(REVISION));
        if before.is_some_and(|before| call.body["metadata"]["annotations"][REVISION] == *before) {
            return Vec::new();
        }
        let Some(plugin) = self.plugins.get(&call.name) else {
            return vec![format!("{call}, and there is no such plugin")];
        };
        let missing = required(plugin).filter(|name| !self.is_up(name));
        missing.map(|name| format!("{call}, before {name} was up")).collect()
    }

    fn is_up(&self, name: &str) -> bool {
        let (Some(plugin), Some(deployment)) = (self.plugins.get(name), self.deployments.get(name)) else {
            return false;
        };
        let Some((spec, status)) = deployment.spec.as_ref().zip(deployment.status.as_ref()) else {
            return false;
        };
        let template = spec.template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        let version = template.and_then(|annotations| annotations.get(VERSION));
        status.observed_generation == deployment.metadata.generation
            && status.ready_replicas == spec.replicas
            && status.updated_replicas == spec.replicas
            && version == Some(&plugin.spec.version)
    }
}

fn required(plugin: &Plugin) -> impl Iterator<Item = &str> {
    plugin.spec.dependencies.iter().filter(|it| !it.optional).map(|it| it.name.as_str())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;

    fn moment(ready: i32) -> Moment {
        let plugin = |name: &str, needs: Value| {
            let spec = json!({"version": "1.0.0", "image": "a", "dependencies": needs});
            serde_json::from_value::<Plugin>(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        let template = json!({"metadata": {"annotations": {VERSION: "1.0.0"}}});
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "base", "generation": 1},
            "spec": {"replicas": 1, "selector": {}, "template": template},
            "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": 1},
        }))
        .unwrap();
        Moment {
            plugins: named([plugin("base", json!([])), plugin("top", json!([{"name": "base"}]))]),
            deployments: named([deployment]),
            pods: [("top".to_owned(), 1)].into(),
        }
    }

    fn call(method: Method, name: &str) -> Call {
        let path = format!("/apis/apps/v1/namespaces/shop/deployments/{name}");
        Call::read(&method, &path.parse().unwrap(), b"{}")
    }

    #[test]
    fn a_start_before_what_it_needs_is_out_of_order() {
        assert_eq!(moment(1).judge(&call(Method::PATCH, "top")), Vec::<String>::new());
        assert_eq!(
            moment(0).judge(&call(Method::PATCH, "top")),
            ["patch deployments top, before base was up"]
        );
    }

    #[test]
    fn a_stop_under_what_runs_is_out_of_order() {
        let wrong = moment(1).judge(&call(Method::DELETE, "base"));
        assert_eq!(wrong, ["delete deployments base, while top runs and needs it"]);
        assert!(moment(1).judge(&call(Method::DELETE, "top")).is_empty());
    }
}
