//! The cluster that the operator is shown: what it writes is there and counted, pods are ready as soon as
//! they are wanted, and there can be [very many plugins](Crowd).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    crowd::Crowd,
    server::{self, Kind, complete, fresh, kind_of},
};
use crate::{
    api::{self, Answer, Asked, Events},
    plugins,
};

/// Kinds that the operator writes whatever plugins there are.
const OWN: [&str; 2] = ["leases", "secrets"];

pub struct World {
    state: Mutex<State>,
    events: Events,
}

struct State {
    version: u64,
    objects: BTreeMap<(&'static str, String), Value>,
    /// The pod templates as they were written, by the names of their Deployments.
    templates: BTreeMap<String, Value>,
    crowd: Option<Crowd>,
    /// What was written, and how often.
    written: BTreeMap<String, usize>,
    last: Instant,
}

/// What a path names.
struct Target<'a> {
    kind: &'static Kind,
    namespace: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
}

impl World {
    /// With these plugins.
    pub fn with(plugins: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let (objects, templates, written) = Default::default();
        let state = State { version: 1, objects, templates, crowd: None, written, last: Instant::now() };
        let world = Self { state: Mutex::new(state), events: Events::default() };
        let secret = json!({"metadata": {"name": server::WEBHOOK}});
        let plugins = plugins.into_iter().map(|plugin| ("plugins", server::PLUGINS, plugin));
        for (plural, namespace, object) in plugins.chain([("secrets", server::NAMESPACE, secret)]) {
            let kind = kind_of(plural).expect("a kind that there is");
            world.write(&Target { kind, namespace, name: None, part: None }, object, false);
        }
        Arc::new(world)
    }

    /// Have so many plugins in the place of those that there are.
    pub fn multiply(&self, count: usize) -> Result<()> {
        let mut state = self.lock();
        let of = |number: usize| {
            let name = plugins::name(number);
            let objects = state.objects.iter().filter(|((_, it), _)| it.starts_with(&name));
            objects.filter_map(|((plural, _), object)| Some((kind_of(plural)?, object.clone()))).collect()
        };
        let template = |number: usize| state.templates.get(&plugins::name(number)).cloned();
        let crowd = Crowd::new(count, of, template)?;
        state.objects.retain(|(plural, _), _| OWN.contains(plural));
        state.crowd = Some(crowd);
        state.written.clear();
        Ok(())
    }

    /// Whether all plugins have started.
    pub fn has_started(&self) -> bool {
        let state = self.lock();
        let mut plugins = state.objects.iter().filter(|((plural, _), _)| *plural == "plugins");
        plugins.all(|(_, plugin)| plugin["status"]["state"] == "Started")
    }

    /// For how long nothing has been written of plugins.
    pub fn quiet(&self) -> Duration {
        self.lock().last.elapsed()
    }

    /// What has been written of plugins, and how often.
    pub fn written(&self) -> BTreeMap<String, usize> {
        self.lock().written.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events after a version, the current state of what has changed since first.
    fn watch(&self, kind: &'static Kind, since: u64) -> Answer {
        let state = self.lock();
        let of_kind = state.objects.iter().filter(|((plural, _), _)| *plural == kind.plural);
        let missed = api::missed(of_kind.map(|(_, object)| object), since);
        Answer::Events { kind: kind.plural, missed, later: self.events.subscribe() }
    }

    /// Take in what was written: all of an object, or what is given of it. The status is a part of its own.
    fn write(&self, target: &Target<'_>, body: Value, whole: bool) -> Value {
        let Target { kind, namespace, name, part } = target;
        let name = name.or(body["metadata"]["name"].as_str()).unwrap_or_default().to_owned();
        let mut state = self.lock();
        state.version += 1;
        let version = state.version.to_string();
        let known = state.objects.get(&(kind.plural, name.clone())).filter(|_| !whole).cloned();
        let event = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let mut object = known.unwrap_or_else(|| fresh(kind, &name, namespace));
        for (key, value) in body.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("metadata", Value::Object(fields)) => fields.iter().for_each(|(field, value)| {
                    object["metadata"][field] = value.clone();
                }),
                ("status", _) if *part != Some("status") => {}
                _ => object[key] = value.clone(),
            }
        }
        if kind.plural == "deployments" {
            state.templates.insert(name.clone(), object["spec"]["template"].clone());
        }
        complete(kind, &mut object);
        object["metadata"]["resourceVersion"] = version.into();
        state.objects.insert((kind.plural, name), object.clone());
        self.events.tell(kind.plural, event, &object);
        if kind.plural == "deployments"
            && let Some(pods) = kind_of("pods")
        {
            let mut pod = server::pod(pods, &object);
            pod["metadata"]["resourceVersion"] = state.version.to_string().into();
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            self.events.tell(pods.plural, "ADDED", &pod);
            state.objects.insert((pods.plural, name), pod);
        }
        object
    }
}

impl api::World for World {
    fn answer(&self, asked: &Asked) -> Answer {
        let Some(target) = Target::read(&asked.path) else { return Answer::Missing };
        let Target { kind, name, part, .. } = target;
        if asked.is_watch() {
            return self.watch(kind, asked.since());
        }
        if asked.method == "GET" {
            let state = self.lock();
            return match name {
                Some(name) => state.get(kind, name).map_or(Answer::Missing, Answer::Found),
                None => {
                    let number = |parameter| asked.parameter(parameter).and_then(|it| it.parse().ok());
                    Answer::Found(state.list(kind, number("continue").unwrap_or(0), number("limit")))
                }
            };
        }
        if !OWN.contains(&kind.plural) {
            let mut state = self.lock();
            let what = format!("{} {}/{}", asked.method, kind.plural, part.unwrap_or_default());
            *state.written.entry(what).or_default() += 1;
            state.last = Instant::now();
        }
        match (asked.method.as_str(), name) {
            ("DELETE", Some(name)) => {
                let mut state = self.lock();
                match state.objects.remove(&(kind.plural, name.to_owned())) {
                    Some(object) => {
                        self.events.tell(kind.plural, "DELETED", &object);
                        Answer::Found(object.to_string())
                    }
                    None => Answer::Missing,
                }
            }
            (method, _) => Answer::Found(self.write(&target, asked.body(), method == "PUT").to_string()),
        }
    }
}

impl State {
    fn get(&self, kind: &Kind, name: &str) -> Option<String> {
        if let Some(object) = self.objects.get(&(kind.plural, name.to_owned())) {
            return Some(object.to_string());
        }
        let crowd = self.crowd.as_ref().filter(|crowd| crowd.has(kind))?;
        let number = plugins::number(name).filter(|number| *number < crowd.count)?;
        let object = crowd.object(kind, number).ok()?;
        object.contains(&format!("\"name\":\"{name}\"")).then_some(object)
    }

    /// A page of a list, as the API server has them: from a place on, and of so many objects.
    fn list(&self, kind: &Kind, from: usize, limit: Option<usize>) -> String {
        let of_kind = || self.objects.iter().filter(|((plural, _), _)| *plural == kind.plural);
        let crowd = self.crowd.as_ref().filter(|crowd| crowd.has(kind));
        let count = crowd.map_or_else(|| of_kind().count(), |crowd| crowd.count);
        let end = limit.map_or(count, |limit| count.min(from + limit));
        let items: Vec<String> = match crowd {
            Some(crowd) => (from..end).filter_map(|number| crowd.object(kind, number).ok()).collect(),
            None => of_kind().map(|(_, object)| object.to_string()).skip(from).take(end - from).collect(),
        };
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if end < count {
            metadata["continue"] = end.to_string().into();
            metadata["remainingItemCount"] = (count - end).into();
        }
        format!(
            r#"{{"kind":"{}List","apiVersion":"{}","metadata":{metadata},"items":[{}]}}"#,
            kind.name,
            kind.version,
            items.join(",")
        )
    }
}

impl<'a> Target<'a> {
    /// `/api/v1/…` or `/apis/GROUP/VERSION/…`, with or without a namespace.
    fn read(path: &'a str) -> Option<Self> {
        let mut steps = path.strip_prefix('/')?.split('/').peekable();
        let skipped = if steps.next()? == "api" { 1 } else { 2 };
        let mut steps = steps.skip(skipped).peekable();
        let namespace = steps.next_if_eq(&"namespaces").and_then(|_| steps.next()).unwrap_or_default();
        let kind = kind_of(steps.next()?)?;
        Some(Self { kind, namespace, name: steps.next(), part: steps.next() })
    }
}
