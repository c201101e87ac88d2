//! Stands in for the API server: lists and watches of made-up objects, and statuses that are written.
//! So the gateway that is measured is the whole program, without a cluster beside it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::broadcast::{self, error::RecvError},
};

use super::objects::Kind;

/// Events that a watch may be behind. One that is further behind ends, and is begun anew.
const BEHIND: usize = 64 * 1024;

/// The objects that there are.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    store: Arc<Store>,
}

struct Store {
    state: Mutex<State>,
    events: broadcast::Sender<(Kind, Arc<str>)>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(Kind, String), Value>,
}

struct Asked {
    method: String,
    target: String,
    body: Vec<u8>,
}

impl Api {
    /// Serve until the process ends.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen as an API server")?;
        let (events, _) = broadcast::channel(BEHIND);
        let api = Self {
            address: listener.local_addr()?,
            store: Arc::new(Store { state: Mutex::default(), events }),
        };
        let store = api.store.clone();
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(store.clone(), stream));
                }
            }
        });
        Ok(api)
    }

    /// Make an object, or change it.
    pub fn apply(&self, kind: Kind, object: Value) {
        self.store.apply(kind, object);
    }

    pub fn delete(&self, kind: Kind, name: &str) {
        let mut state = self.store.lock();
        state.version += 1;
        if let Some(object) = state.objects.remove(&(kind, name.to_owned())) {
            self.store.tell(kind, "DELETED", &object);
        }
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, kind: Kind, mut object: Value) -> Value {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let known = state.objects.insert((kind, name), object.clone()).is_some();
        self.tell(kind, if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    /// Told while the state is locked, so that events come in the order of their versions.
    fn tell(&self, kind: Kind, what: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": what, "object": object}));
        // Nobody may be watching.
        self.events.send((kind, line.into())).ok();
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
    fn watch(&self, kind: Kind, since: u64) -> (Vec<String>, broadcast::Receiver<(Kind, Arc<str>)>) {
        let state = self.lock();
        let version = |object: &Value| {
            object["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse::<u64>().ok())
        };
        let newer =
            state.objects.iter().filter(|((it, _), object)| *it == kind && version(object) > Some(since));
        let lines = newer.map(|(_, object)| format!("{}\n", json!({"type": "MODIFIED", "object": object})));
        (lines.collect(), self.events.subscribe())
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

async fn serve(store: Arc<Store>, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    // A connection that breaks is opened again by whoever wants something.
    while let Some(asked) = next(&mut read).await {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|it| it.1)
        };
        let kind = Kind::ALL.into_iter().find(|kind| path.contains(kind.plural()));
        let answered = match kind {
            // The gateway's own Service: it is the only replica.
            Some(Kind::Slice) if path.contains("/namespaces/") && parameter("watch").is_some() => {
                std::future::pending().await
            }
            Some(kind) if path.contains("/namespaces/") && asked.method == "GET" => {
                let mut empty = store.list(kind);
                empty["items"] = json!([]);
                answer(&mut write, Some(empty)).await
            }
            Some(kind) if asked.method == "GET" && parameter("watch").is_some() => {
                let since = parameter("resourceVersion").and_then(|it| it.parse().ok()).unwrap_or_default();
                return drop(stream_events(&store, &mut write, kind, since).await);
            }
            Some(kind) if asked.method == "GET" => answer(&mut write, Some(store.list(kind))).await,
            Some(Kind::Plugin) if asked.method == "PATCH" => {
                let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default();
                let patch = serde_json::from_slice(&asked.body).unwrap_or_default();
                answer(&mut write, store.write_status(name, &patch)).await
            }
            _ => answer(&mut write, None).await,
        };
        if answered.is_err() {
            return;
        }
    }
}

async fn next(read: &mut BufReader<OwnedReadHalf>) -> Option<Asked> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await.ok()?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    Some(Asked { method, target, body })
}

async fn answer(write: &mut OwnedWriteHalf, object: Option<Value>) -> std::io::Result<()> {
    let (status, object) = match object {
        Some(object) => ("200 OK", object),
        None => {
            let failure = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                "message": "there is no such object",
            });
            ("404 Not Found", failure)
        }
    };
    let body = object.to_string();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    write.write_all(format!("{head}{body}").as_bytes()).await
}

async fn stream_events(
    store: &Store,
    write: &mut OwnedWriteHalf,
    kind: Kind,
    since: u64,
) -> std::io::Result<()> {
    let (missed, mut events) = store.watch(kind, since);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await?;
    for line in missed {
        write.write_all(chunk(&line).as_bytes()).await?;
    }
    loop {
        match events.recv().await {
            Ok((of, line)) if of == kind => write.write_all(chunk(&line).as_bytes()).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
        }
    }
}

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\r\n", line.len())
}
