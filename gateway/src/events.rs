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
    /// What of it, or what else. What is written within minutes for the same reason and about the same
    /// is one Event, with the first one's note.
    part: Option<ObjectReference>,
}

impl Events {
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "forward-gateway".to_owned(), instance: None };
        Self(Recorder::new(client, reporter))
    }

    /// About an object.
    pub fn about(&self, object: ObjectReference) -> About {
        About { recorder: self.0.clone(), object, part: None }
    }

    /// About a receiver of alerts in the PluginSystem of a namespace.
    pub fn about_receiver(&self, namespace: &str, uid: &str, receiver: &str) -> About {
        let system = ObjectReference {
            api_version: Some(PluginSystem::api_version(&()).into_owned()),
            kind: Some(PluginSystem::kind(&()).into_owned()),
            name: Some(SYSTEM_NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let field_path = Some(format!("spec.alerts.receivers{{{receiver}}}"));
        let part = Some(ObjectReference { field_path, ..system.clone() });
        About { part, ..self.about(system) }
    }
}

impl About {
    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        self.object.namespace.as_deref().unwrap_or_default()
    }

    /// About one of its pods.
    pub fn pod(&self, name: &str) -> Self {
        let part = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.to_owned()),
            namespace: self.object.namespace.clone(),
            ..ObjectReference::default()
        };
        Self { part: Some(part), ..self.clone() }
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
            secondary: self.part.clone(),
        };
        let error = match timeout(PATIENCE, self.recorder.publish(&event, &self.object)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {PATIENCE:?}"),
        };
        tracing::warn!(namespace = self.namespace(), reason, error, "event lost");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Json, Router, extract::State, http::Method, routing::any};
    use kube::Config;
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;

    type Taken = Arc<Mutex<Vec<(Method, Value)>>>;

    async fn take(State(taken): State<Taken>, method: Method, Json(event): Json<Value>) -> Json<Value> {
        taken.lock().unwrap().push((method, event.clone()));
        Json(event)
    }

    /// What is about different pods, or receivers, are different Events: each has a note of its own.
    #[tokio::test]
    async fn writes_of_each_part_for_itself() {
        let taken = Taken::default();
        let router = Router::new().fallback(any(take)).with_state(taken.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let events = Events::new(Client::try_from(config).unwrap());
        let namespace = Some("shop".to_owned());
        let pay = events.about(ObjectReference { namespace, ..ObjectReference::default() });
        for pod in ["a", "b", "a"] {
            pay.pod(pod).warn("PodUnhealthy", &format!("pod {pod} gets no requests")).await;
        }
        for receiver in ["chat", "team", "chat"] {
            let about = events.about_receiver("shop", "uid", receiver);
            about.warn("AlertsNotDelivered", &format!("receiver {receiver} is not told")).await;
        }
        let taken = taken.lock().unwrap().clone();
        let told = taken.iter().filter(|(method, _)| *method == Method::POST);
        let notes = told.map(|(_, event)| event["note"].as_str().unwrap()).collect::<Vec<_>>();
        let expected = [
            "pod a gets no requests",
            "pod b gets no requests",
            "receiver chat is not told",
            "receiver team is not told",
        ];
        assert_eq!(notes, expected);
        // The same once more counts up.
        let again = taken.iter().filter(|(method, _)| *method == Method::PATCH);
        assert_eq!(again.map(|(_, event)| event["series"]["count"].clone()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(taken[0].1["related"]["name"], "a");
        assert_eq!(taken[4].1["related"]["fieldPath"], "spec.alerts.receivers{team}");
    }
}
