//! What the gateway is shown in place of a cluster: objects that are made and changed here, and the
//! statuses that it writes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::objects::Kind;
use crate::api::{self, Answer, Asked, Events, World};

/// The objects that there are.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    store: Arc<Store>,
}

#[derive(Default)]
struct Store {
    state: Mutex<State>,
    events: Events,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(Kind, String), Value>,
}

impl Api {
    /// Serve until the process ends.
    pub async fn start() -> Result<Self> {
        let store = Arc::<Store>::default();
        Ok(Self { address: api::serve(store.clone()).await?, store })
    }

    /// Make an object, or change it.
    pub fn apply(&self, kind: Kind, object: Value) {
        self.store.apply(kind, object);
    }

    pub fn delete(&self, kind: Kind, name: &str) {
        let mut state = self.store.lock();
        state.version += 1;
        if let Some(object) = state.objects.remove(&(kind, name.to_owned())) {
            self.store.events.tell(kind.plural(), "DELETED", &object);
        }
    }
}

impl World for Store {
    fn answer(&self, asked: &Asked) -> Answer {
        let path = &asked.path;
        let kind = Kind::ALL.into_iter().find(|kind| path.contains(kind.plural()));
        match kind {
            // The gateway's own Service: it is the only replica.
            Some(Kind::Slice) if path.contains("/namespaces/") && asked.is_watch() => Answer::Silence,
            Some(kind) if path.contains("/namespaces/") && asked.method == "GET" => {
                let mut empty = self.list(kind);
                empty["items"] = json!([]);
                Answer::Found(empty.to_string())
            }
            Some(kind) if asked.is_watch() => self.watch(kind, asked.since()),
            Some(kind) if asked.method == "GET" => Answer::Found(self.list(kind).to_string()),
            Some(Kind::Plugin) if asked.method == "PATCH" => {
                let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default();
                let written = self.write_status(name, &asked.body());
                written.map_or(Answer::Missing, |object| Answer::Found(object.to_string()))
            }
            _ => Answer::Missing,
        }
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told while the state is locked, so that events come in the order of their versions.
    fn apply(&self, kind: Kind, mut object: Value) -> Value {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let known = state.objects.insert((kind, name), object.clone()).is_some();
        self.events.tell(kind.plural(), if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    /// A list, and the events from then on.
    fn list(&self, kind: Kind) -> Value {
        let state = self.lock();
        let of_kind = state.objects.iter().filter(|((it, _), _)| *it == kind);
        json!({
            "apiVersion": kind.group(),
            "kind": format!("{kind}List"),
            "metadata": {"resourceVersion": state.version.to_string()},
            "items": of_kind.map(|(_, object)| object).collect::<Vec<_>>(),
        })
    }

    /// Events after a version, the current state of what has changed since first.
    fn watch(&self, kind: Kind, since: u64) -> Answer {
        let state = self.lock();
        let of_kind = state.objects.iter().filter(|((it, _), _)| *it == kind).map(|(_, object)| object);
        Answer::Events {
            kind: kind.plural(),
            missed: api::missed(of_kind, since),
            later: self.events.subscribe(),
        }
    }

    /// The gateway's part of a status: its conditions take their places among the others.
    fn write_status(&self, name: &str, patch: &Value) -> Option<Value> {
        let mut object = self.lock().objects.get(&(Kind::Plugin, name.to_owned()))?.clone();
        let (status, patched) = (object["status"].as_object_mut()?, patch["status"].as_object()?);
        for (field, value) in patched {
            let others = status.get(field).and_then(Value::as_array).filter(|_| field == "conditions");
            let value = match (others, value) {
                (Some(others), Value::Array(mine)) => {
                    let mine_too = |it: &&Value| mine.iter().any(|own| own["type"] == it["type"]);
                    json!(others.iter().filter(|it| !mine_too(it)).chain(mine).collect::<Vec<_>>())
                }
                _ => value.clone(),
            };
            status.insert(field.clone(), value);
        }
        Some(self.apply(Kind::Plugin, object))
    }
}
