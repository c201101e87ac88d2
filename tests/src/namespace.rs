//! A namespace of a test's own, and what tests do in it.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use forward_crds::Plugin;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, NamespaceResourceScope, TypeMeta},
    discovery,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Cluster, FIELD_MANAGER, PluginBuilder, await_object};

/// A namespace with Pod Security `restricted` enforced.
pub struct TestNamespace {
    /// The cluster it is in.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl TestNamespace {
    /// Create a namespace whose name says which test it belongs to.
    pub async fn create(cluster: Cluster, test: &str) -> Result<Self> {
        let name = unique_name(test);
        let namespace = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))?;
        Api::<Namespace>::all(cluster.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("create namespace {name}"))?;
        Ok(Self { cluster, name })
    }

    /// Delete the namespace; what is in it goes after this returns.
    pub async fn delete(&self) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.cluster.client.clone());
        match namespaces.delete(&self.name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop).with_context(|| format!("delete namespace {}", self.name)),
        }
    }

    /// Wait until the namespace and everything in it is gone.
    pub async fn await_gone(&self, bound: Duration) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.cluster.client.clone());
        await_object(&namespaces, &self.name, "to be gone", bound, |namespace| namespace.is_none()).await?;
        Ok(())
    }

    /// The objects of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// Where the routes of a plugin of this namespace begin, with a slash at the end: no two tests
    /// share one, although all share the gateway.
    pub fn path(&self, plugin: &str) -> String {
        format!("/{}/{plugin}/", self.name)
    }

    /// Apply a plugin.
    pub async fn apply(&self, plugin: &PluginBuilder) -> Result<Plugin> {
        let plugin = plugin.build(&self.path(plugin.name()));
        self.api::<Plugin>()
            .patch(&plugin.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&plugin))
            .await
            .with_context(|| format!("apply plugin {}", plugin.name_any()))
    }

    /// Apply all documents of a YAML text, in their order. Where one names a namespace, it is
    /// replaced by this one.
    pub async fn apply_yaml(&self, text: &str) -> Result<()> {
        for document in documents(text)? {
            self.apply_as(FIELD_MANAGER, &document).await?;
        }
        Ok(())
    }

    /// Apply one object of any kind under a field manager's name.
    pub async fn apply_as(&self, manager: &str, object: &Value) -> Result<DynamicObject> {
        let mut object = object.clone();
        let types: TypeMeta = serde_json::from_value(object.clone()).context("apiVersion and kind")?;
        let name = object["metadata"]["name"].as_str().context("metadata.name")?.to_owned();
        object["metadata"]["namespace"] = Value::String(self.name.clone());
        let gvk = GroupVersionKind::try_from(&types)?;
        let (resource, _) = discovery::pinned_kind(&self.cluster.client, &gvk)
            .await
            .with_context(|| format!("find kind {}", gvk.kind))?;
        Api::<DynamicObject>::namespaced_with(self.cluster.client.clone(), &self.name, &resource)
            .patch(&name, &PatchParams::apply(manager).force(), &Patch::Apply(&object))
            .await
            .with_context(|| format!("apply {} {name}", gvk.kind))
    }

    /// A plugin as it is now.
    pub async fn plugin(&self, name: &str) -> Result<Plugin> {
        self.api::<Plugin>().get(name).await.with_context(|| format!("get plugin {name}"))
    }

    /// Change a plugin by a merge patch.
    pub async fn patch_plugin(&self, name: &str, patch: Value) -> Result<Plugin> {
        self.api::<Plugin>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("patch plugin {name}"))
    }

    /// Ask for a plugin's deletion; it may be held.
    pub async fn delete_plugin(&self, name: &str) -> Result<()> {
        let result = self.api::<Plugin>().delete(name, &DeleteParams::default()).await;
        result.map(drop).with_context(|| format!("delete plugin {name}"))
    }

    /// Wait until a plugin is as it should be. `what` completes the sentence "waited for NAME …".
    pub async fn await_plugin(
        &self,
        name: &str,
        what: &str,
        bound: Duration,
        done: impl Fn(&Plugin) -> bool,
    ) -> Result<Plugin> {
        self.await_object::<Plugin>(name, what, bound, |plugin| plugin.is_some_and(&done))
            .await?
            .with_context(|| format!("plugin {name} is there"))
    }

    /// Wait until a plugin is gone.
    pub async fn await_plugin_gone(&self, name: &str, bound: Duration) -> Result<()> {
        self.await_object::<Plugin>(name, "to be gone", bound, |plugin| plugin.is_none()).await.map(drop)
    }

    /// Wait until an object of this namespace is as it should be; `None` is an object that is not
    /// there.
    pub async fn await_object<K>(
        &self,
        name: &str,
        what: &str,
        bound: Duration,
        done: impl FnMut(Option<&K>) -> bool,
    ) -> Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        await_object(&self.api::<K>(), name, what, bound, done).await
    }
}

/// The documents of a YAML text that hold something.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("read YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// A name for a namespace, after the test, at most 50 characters long, used by nobody else.
fn unique_name(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mark = (u64::from(process::id()) << 20) ^ u64::from(now.subsec_micros()) ^ (now.as_secs() << 8);
    let words: String =
        test.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(36).collect();
    format!("{}-{:06x}{count}", words.to_lowercase().trim_matches('-'), mark & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_namespaces_after_their_tests() {
        let one = unique_name("holds_a_delete_in_the_wrong_order_until_it_can_be_done");
        let other = unique_name("holds_a_delete_in_the_wrong_order_until_it_can_be_done");
        assert!(one.starts_with("holds-a-delete-in-the-wrong-order-"), "{one}");
        assert!(one.len() <= 50 && one != other, "{one} {other}");
    }

    #[test]
    fn reads_all_documents_of_a_text() {
        let found = documents("---\nkind: A\n---\n# nothing\n---\nkind: B\n").unwrap();
        assert_eq!(found, [json!({"kind": "A"}), json!({"kind": "B"})]);
    }
}
