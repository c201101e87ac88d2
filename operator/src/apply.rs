//! Writes objects, and only where they differ from what is there: a new one by a create, which takes over
//! nothing that somebody else made, and a change by server-side apply.

use std::{fmt::Debug, sync::Arc, time::Duration};

use forward_crds::{PLUGIN_LABEL, Plugin};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    error::Error,
    kept::{Keep, Kept, Owner},
    metrics::Metrics,
    ownership::{self, MANAGER},
};

/// How long one call to the API server may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Kinds that the operator writes.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    const NAME: &'static str;
    /// Whether the object is nothing but what is desired, so that what somebody adds to its spec is
    /// a difference: the API server adds nothing to it.
    const IS_WHOLE: bool = false;
}

impl Kind for Plugin {
    const NAME: &'static str = "Plugin";
}
impl Kind for k8s_openapi::api::apps::v1::Deployment {
    const NAME: &'static str = "Deployment";
}
impl Kind for k8s_openapi::api::batch::v1::Job {
    const NAME: &'static str = "Job";
}
impl Kind for k8s_openapi::api::core::v1::Service {
    const NAME: &'static str = "Service";
}
impl Kind for k8s_openapi::api::core::v1::ServiceAccount {
    const NAME: &'static str = "ServiceAccount";
}
impl Kind for k8s_openapi::api::core::v1::ConfigMap {
    const NAME: &'static str = "ConfigMap";
}
impl Kind for k8s_openapi::api::networking::v1::NetworkPolicy {
    const NAME: &'static str = "NetworkPolicy";
    // A label more in a selector would leave the plugin's pods without a policy.
    const IS_WHOLE: bool = true;
}
impl Kind for k8s_openapi::api::policy::v1::PodDisruptionBudget {
    const NAME: &'static str = "PodDisruptionBudget";
}

/// Writes the objects of one plugin.
pub struct Writer<'a> {
    pub client: &'a Client,
    pub metrics: &'a Metrics,
    pub plugin: &'a Plugin,
}

impl Writer<'_> {
    /// Bring `desired` about. Answers whether anything was written.
    ///
    /// # Errors
    /// An object of that name which is not the plugin's is left alone and reported.
    pub async fn apply<K: Kind + Keep>(
        &self,
        desired: &K,
        live: Option<&Arc<Kept<K>>>,
    ) -> Result<bool, Error> {
        let name = desired.name_any();
        if live.is_none() {
            match self.make(desired).await? {
                None => return Ok(true),
                // It was made a moment ago: its event is on its way, and is compared when it comes.
                Some(before) if before.labels().get(PLUGIN_LABEL) == Some(&self.plugin.name_any()) => {
                    return Ok(false);
                }
                // No event will come of it: it has no label, or another plugin's.
                Some(before) => self.hold_by_apply(before).await?,
            }
        }
        let build = |source| Error::Build { kind: K::NAME, name: name.clone(), source };
        let body = serde_json::to_value(desired).map_err(build)?;
        if let Some(live) = live {
            if live.is_as(&body, K::IS_WHOLE) {
                return Ok(false);
            }
            self.check_owner(live)?;
            if live.identity.is_as_created
                && let Some(found) =
                    call_api("read", K::NAME, &name, self.api::<K>().get_metadata_opt(&name)).await?
            {
                self.hold_by_apply(found).await?;
            }
        }
        let params = PatchParams::apply(MANAGER).force();
        call_api("apply", K::NAME, &name, self.api::<K>().patch(&name, &params, &Patch::Apply(&body)))
            .await?;
        if let Some(live) = live {
            live.made(&body);
        }
        self.metrics.wrote(K::NAME);
        tracing::debug!(kind = K::NAME, name, "applied");
        Ok(true)
    }

    /// Make an object that is not to be changed once it is there. Answers whether it was made.
    ///
    /// # Errors
    /// Those of [`Self::apply`].
    pub async fn create<K: Kind>(&self, desired: &K) -> Result<bool, Error> {
        Ok(self.make(desired).await?.is_none())
    }

    /// Bring about an object that there is to be, or that there is to be none. Answers whether
    /// anything was written.
    ///
    /// # Errors
    /// Those of [`Self::apply`].
    pub async fn apply_or_delete<K: Kind + Keep>(
        &self,
        desired: Option<&K>,
        live: Option<&Arc<Kept<K>>>,
    ) -> Result<bool, Error> {
        match (desired, live) {
            (Some(desired), live) => self.apply(desired, live).await,
            (None, Some(live)) if self.is_among(&live.identity.owners) => {
                self.delete(live).await.map(|()| true)
            }
            (None, _) => Ok(false),
        }
    }

    /// Delete an object of the plugin, if that very object is still there.
    pub async fn delete<K: Kind + Keep>(&self, live: &Kept<K>) -> Result<(), Error> {
        self.check_owner(live)?;
        let name = &*live.identity.name;
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(kube::api::Preconditions {
                uid: live.identity.uid.as_deref().map(str::to_owned),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api = self.api::<K>();
        if call_if_there("delete", K::NAME, name, api.delete(name, &params)).await?.is_some() {
            self.metrics.deleted(K::NAME);
            tracing::debug!(kind = K::NAME, name, "deleted");
        }
        Ok(())
    }

    /// Make an object, unless there is one of that name: that must be the plugin's own, and is answered.
    async fn make<K: Kind>(&self, desired: &K) -> Result<Option<PartialObjectMeta<K>>, Error> {
        let name = desired.name_any();
        let api = self.api::<K>();
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match call_api("create", K::NAME, &name, api.create(&params, desired)).await {
            Ok(_) => {
                self.metrics.wrote(K::NAME);
                tracing::debug!(kind = K::NAME, name, "created");
                Ok(None)
            }
            Err(Error::Call { source: kube::Error::Api(status), .. }) if status.is_already_exists() => {
                let found = call_api("read", K::NAME, &name, api.get_metadata(&name)).await?;
                let owners: Vec<_> = found.owner_references().iter().map(Owner::from).collect();
                self.check_owner_of(K::NAME, &name, &owners)?;
                Ok(Some(found))
            }
            Err(error) => Err(error),
        }
    }

    /// Have what the operator holds of an object since it created it held as by server-side apply:
    /// else what is desired no more would stay there. `found` is the object's metadata.
    async fn hold_by_apply<K: Kind>(&self, mut found: PartialObjectMeta<K>) -> Result<(), Error> {
        if !ownership::hold_by_apply(found.managed_fields_mut()) {
            return Ok(());
        }
        let body = json!({"metadata": {
            "uid": found.uid(),
            "resourceVersion": found.resource_version(),
            "managedFields": found.managed_fields(),
        }});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (name, patch) = (found.name_any(), Patch::Merge(body));
        let api = self.api::<K>();
        call_if_there("patch", K::NAME, &name, api.patch_metadata(&name, &params, &patch)).await?;
        self.metrics.wrote(K::NAME);
        Ok(())
    }

    fn check_owner<K: Kind + Keep>(&self, live: &Kept<K>) -> Result<(), Error> {
        self.check_owner_of(K::NAME, &live.identity.name, &live.identity.owners)
    }

    fn check_owner_of(&self, kind: &'static str, name: &str, owners: &[Owner]) -> Result<(), Error> {
        if self.is_among(owners) {
            return Ok(());
        }
        let uid = self.plugin.uid();
        let is_before = |owner: &Owner| {
            &*owner.kind == Plugin::NAME
                && *owner.name == self.plugin.name_any()
                && Some(&*owner.uid) != uid.as_deref()
        };
        if owners.iter().any(is_before) {
            return Err(Error::LeftBehind { kind, name: name.to_owned() });
        }
        Err(Error::ForeignObject { kind, name: name.to_owned() })
    }

    /// Whether an object with these owners is one of the plugin's.
    fn is_among(&self, owners: &[Owner]) -> bool {
        let uid = self.plugin.uid();
        owners.iter().any(|owner| owner.is_controller && Some(&*owner.uid) == uid.as_deref())
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.plugin.namespace().unwrap_or_default())
    }
}

/// One call to the API server, bounded in time.
pub async fn call_api<T>(
    action: &'static str,
    kind: &'static str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_invalid() || status.is_forbidden() => {
            Err(Error::Refused { kind, name: name.to_owned(), message: status.message })
        }
        Ok(Err(source)) => Err(Error::Call { action, kind, name: name.to_owned(), source }),
        Err(_) => Err(Error::Timeout { action, kind, name: name.to_owned() }),
    }
}

/// One call about an object that may be gone by now, which is no failure: nothing where it is.
pub async fn call_if_there<T>(
    action: &'static str,
    kind: &'static str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, Error> {
    match call_api(action, kind, name, call).await {
        Err(Error::Call { source: kube::Error::Api(status), .. }) if status.is_not_found() => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
