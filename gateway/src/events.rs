//! Tells people what has happened, by Events about the objects that it concerns. One that is lost is
//! logged and not written again: the status and the metrics say the same.

use std::time::Duration;

use forward_crds::{PluginSystem, SYSTEM_NAME};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::timeout;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most characters of a note: the API server refuses more than 1 kB.
const MAX_NOTE: usize = 1_000;

/// Writes Events. Cheap to clone.
#[derive(Clone)]
pub struct Events(Recorder);

/// Writes them about one object.
#[derive(Clone)]
pub struct About {
    recorder: Recorder,
    object: ObjectReference,
}

impl Events {
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "forward-gateway".to_owned(), instance: None };
        Self(Recorder::new(client, reporter))
    }

    /// About an object.
    pub fn about(&self, object: ObjectReference) -> About {
        About { recorder: self.0.clone(), object }
    }

    /// About the PluginSystem of a namespace.
    pub fn about_system(&self, namespace: &str, uid: &str) -> About {
        self.about(ObjectReference {
            api_version: Some(PluginSystem::api_version(&()).into_owned()),
            kind: Some(PluginSystem::kind(&()).into_owned()),
            name: Some(SYSTEM_NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        })
    }
}

impl About {
    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        self.object.namespace.as_deref().unwrap_or_default()
    }

    /// Something is wrong.
    pub async fn warn(&self, reason: &str, note: &str) {
        self.write(EventType::Warning, reason, note).await;
    }

    /// Something is well again.
    pub async fn note(&self, reason: &str, note: &str) {
        self.write(EventType::Normal, reason, note).await;
    }

    async fn write(&self, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            action: "Watch".to_owned(),
            secondary: None,
        };
        let error = match timeout(PATIENCE, self.recorder.publish(&event, &self.object)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {PATIENCE:?}"),
        };
        tracing::warn!(namespace = self.namespace(), reason, error, "event lost");
    }
}
