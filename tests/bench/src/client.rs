//! The side of people and tools: makes objects and follows what becomes of them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use forward_crds::Plugin;
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
    },
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, ListParams, Object, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// How many plugins are written at the same time: as many as the operator works on by itself.
pub const CONCURRENCY: usize = 16;

/// How long so many plugins may take at most: many times what they do.
pub fn bound(count: usize) -> Duration {
    Duration::from_secs(60) + Duration::from_millis(500) * u32::try_from(count).unwrap_or(u32::MAX)
}

/// A cluster, with all rights.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// What is read of a Plugin, or of a Deployment, while it comes up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seen {
    pub state: Option<String>,
    pub observed_generation: i64,
    pub available_replicas: i64,
}

/// The spec, which is not read.
#[derive(Clone, Debug, Deserialize)]
pub struct Unread {}

pub type Light = Object<Unread, Seen>;

/// When something was seen first, and when it was seen done.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub first: Instant,
    pub done: Option<Instant>,
}

impl Cluster {
    pub async fn connect() -> Result<Self> {
        let client = Client::try_from(Config::infer().await.context("find the cluster")?)?;
        Ok(Self { client })
    }

    /// Make a namespace.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create("/api/v1/namespaces", &namespace).await
    }

    /// Make these plugins, as many at the same time as the operator works on.
    pub async fn create_plugins(&self, namespace: &str, plugins: &[Value]) -> Result<()> {
        let path = Plugin::url_path(&(), Some(namespace));
        let calls = plugins.iter().map(|plugin| self.create(&path, plugin));
        stream::iter(calls).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Make objects of several kinds: those of one plugin after each other, many plugins at a time.
    pub async fn create_sets(&self, sets: &[Vec<(String, Value)>]) -> Result<()> {
        let calls = sets.iter().map(async |set| {
            for (path, object) in set {
                self.create(path, object).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
        stream::iter(calls).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Everything that the operator made for each plugin of a namespace, and the plugin, as it can be
    /// made anew in another namespace: with its path there, the Deployment last.
    pub async fn objects(&self, from: &str, to: &str) -> Result<Vec<Vec<(String, Value)>>> {
        let mut sets = BTreeMap::<String, Vec<(String, Value)>>::new();
        let kinds = [
            (Plugin::url_path(&(), Some(from)), Plugin::url_path(&(), Some(to))),
            (ServiceAccount::url_path(&(), Some(from)), ServiceAccount::url_path(&(), Some(to))),
            (ConfigMap::url_path(&(), Some(from)), ConfigMap::url_path(&(), Some(to))),
            (Service::url_path(&(), Some(from)), Service::url_path(&(), Some(to))),
            (NetworkPolicy::url_path(&(), Some(from)), NetworkPolicy::url_path(&(), Some(to))),
            (Deployment::url_path(&(), Some(from)), Deployment::url_path(&(), Some(to))),
        ];
        for (from, to) in kinds {
            let list: Value = self.client.request(Request::get(from).body(Vec::new())?).await?;
            for object in list["items"].as_array().context("a list")? {
                let plugin = match object["metadata"]["labels"]["goforward.dev/plugin"].as_str() {
                    Some(plugin) => plugin,
                    None if object.get("spec").is_some() => {
                        object["metadata"]["name"].as_str().context("a name")?
                    }
                    None => continue,
                };
                sets.entry(plugin.to_owned()).or_default().push((to.clone(), anew(object)));
            }
        }
        Ok(sets.into_values().collect())
    }

    /// Take the plugins of a namespace away; nothing holds those that no operator has seen.
    pub async fn delete_plugins(&self, namespace: &str) -> Result<()> {
        let plugins = self.light::<Plugin>(namespace);
        plugins.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    }

    /// Change the priority of a plugin; answers its generation then.
    pub async fn edit(&self, namespace: &str, name: &str, priority: i32) -> Result<i64> {
        let patch = Patch::Merge(json!({"spec": {"priority": priority}}));
        let plugin = self.light::<Plugin>(namespace).patch(name, &PatchParams::default(), &patch).await?;
        plugin.metadata.generation.context("a generation")
    }

    pub async fn get(&self, namespace: &str, name: &str) -> Result<Seen> {
        Ok(self.light::<Plugin>(namespace).get(name).await?.status.unwrap_or_default())
    }

    /// What is in a Secret.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, ByteString>> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        Ok(secrets.get(name).await?.data.unwrap_or_default())
    }

    /// Follow all objects of a kind until so many are done. Answers when each was seen.
    pub async fn await_all<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        count: usize,
        bound: Duration,
        is_done: impl Fn(&Light) -> bool,
    ) -> Result<BTreeMap<String, Span>> {
        let mut spans = BTreeMap::<String, Span>::new();
        let mut left = count;
        let mut events =
            watcher(self.light::<K>(namespace), watcher::Config::default()).applied_objects().boxed();
        let all = async {
            while left > 0 {
                let object = events.try_next().await?.context("the watch ended")?;
                let now = Instant::now();
                let span = spans.entry(object.name_any()).or_insert(Span { first: now, done: None });
                if span.done.is_none() && is_done(&object) {
                    span.done = Some(now);
                    left -= 1;
                }
            }
            Ok::<_, anyhow::Error>(())
        };
        match timeout(bound, all).await {
            Ok(result) => result?,
            Err(_) => bail!("{left} of {count} are not done after {} s", bound.as_secs()),
        }
        Ok(spans)
    }

    fn light<K: Resource<DynamicType = ()>>(&self, namespace: &str) -> Api<Light> {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<K>(&()))
    }

    async fn create(&self, path: &str, object: &Value) -> Result<()> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(object)?)?;
        self.client.request::<IgnoredAny>(request).await.with_context(|| format!("create in {path}"))?;
        Ok(())
    }
}

/// An object without what a server added.
fn anew(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].take();
    object["metadata"] = json!({"name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"]});
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| !["clusterIP", "clusterIPs"].contains(&field.as_str()));
    }
    object
}

impl Span {
    pub fn length(&self) -> Option<Duration> {
        Some(self.done?.duration_since(self.first))
    }
}

pub fn is_started(plugin: &Light) -> bool {
    plugin.status.as_ref().is_some_and(|status| status.state.as_deref() == Some("Started"))
}

pub fn is_available(deployment: &Light) -> bool {
    deployment.status.as_ref().is_some_and(|status| status.available_replicas > 0)
}
