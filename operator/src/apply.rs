//! Writes objects by server-side apply, and only where they differ from what is there.

use std::{fmt::Debug, sync::Arc, time::Duration};

use forward_crds::{PLUGIN_LABEL, Plugin};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PropagationPolicy},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::Error,
    kept::{Keep, Kept, Owner},
    metrics::Metrics,
};

/// The operator's name in `managedFields`.
pub const MANAGER: &str = "forward-operator";
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
        let build = |source| Error::Build { kind: K::NAME, name: name.clone(), source };
        let body = serde_json::to_value(desired).map_err(build)?;
        match live {
            Some(live) => {
                if live.is_as(&body, K::IS_WHOLE) {
                    return Ok(false);
                }
                self.check_owner(live)?;
            }
            None => {
                let found = self.find_own::<K>(&name).await?;
                // It was made a moment ago: its event is on its way, and is compared when it comes.
                if found.is_some_and(|found| found.labels().contains_key(PLUGIN_LABEL)) {
                    return Ok(false);
                }
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
    pub async fn create<K: Kind + Keep>(&self, desired: &K) -> Result<bool, Error> {
        let name = desired.name_any();
        match self.find_own::<K>(&name).await? {
            None => self.apply(desired, None).await,
            Some(_) => Ok(false),
        }
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

    /// The first write of an object must not take over one that somebody else made: ask before.
    /// Answers with the metadata of the plugin's own, if there is one of that name.
    async fn find_own<K: Kind>(&self, name: &str) -> Result<Option<PartialObjectMeta<K>>, Error> {
        let found = call_api("read", K::NAME, name, self.api::<K>().get_metadata_opt(name)).await?;
        if let Some(found) = &found {
            let owners: Vec<_> = found.owner_references().iter().map(Owner::from).collect();
            self.check_owner_of(K::NAME, name, &owners)?;
        }
        Ok(found)
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
