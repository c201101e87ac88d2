//! Stands in for the API server: speaks its HTTP, and leaves what there is to a [`World`]. So what is
//! measured is a whole program, without a cluster beside it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

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

/// Events that a watch may be behind. One that is further behind ends, and is begun anew.
const BEHIND: usize = 64 * 1024;

/// The objects that there are.
pub trait World: Send + Sync + 'static {
    fn answer(&self, asked: &Asked) -> Answer;
}

/// A request.
pub struct Asked {
    pub method: String,
    pub path: String,
    query: String,
    body: Vec<u8>,
}

/// What is answered.
pub enum Answer {
    /// An object or a list, as JSON.
    Found(String),
    Missing,
    /// Events of a kind: those that were missed, then those to come.
    Events {
        kind: &'static str,
        missed: Vec<String>,
        later: broadcast::Receiver<Event>,
    },
    /// Nothing, ever: a watch of what does not change.
    Silence,
}

/// The plural of a kind, and a line for those who watch it.
pub type Event = (&'static str, Arc<str>);

/// Where events go.
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BEHIND).0)
    }
}

impl Events {
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    pub fn tell(&self, kind: &'static str, what: &str, object: &Value) {
        // Nobody may be watching.
        self.0.send((kind, line(what, object).into())).ok();
    }
}

/// Of these objects, those that have changed after a version, as a watch brings them.
pub fn missed<'a>(objects: impl Iterator<Item = &'a Value>, since: u64) -> Vec<String> {
    let version =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse::<u64>().ok());
    let newer = objects.filter(|object| version(object) > Some(since));
    newer.map(|object| line("MODIFIED", object)).collect()
}

/// An event as a watch brings it.
fn line(what: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": what, "object": object}))
}

impl Asked {
    /// One of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub fn is_watch(&self) -> bool {
        self.method == "GET" && self.parameter("watch").is_some()
    }

    /// The version after which a watch wants to hear of changes.
    pub fn since(&self) -> u64 {
        self.parameter("resourceVersion").and_then(|it| it.parse().ok()).unwrap_or_default()
    }

    /// What was sent with it; null where that is not JSON.
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Serve until the process ends.
pub async fn serve(world: Arc<impl World>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen as an API server")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(world.clone(), stream));
            }
        }
    });
    Ok(address)
}

/// A kubeconfig for who is to take this for the API server.
pub fn write_kubeconfig(path: &Path, address: SocketAddr) -> Result<()> {
    let cluster = format!("{{name: c, cluster: {{server: \"http://{address}\"}}}}");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{cluster}]\nusers: [{{name: c, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    fs::write(path, config).with_context(|| format!("write {}", path.display()))
}

async fn converse(world: Arc<impl World>, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    // A connection that breaks is opened again by whoever wants something.
    while let Some(asked) = next(&mut read).await {
        let answered = match world.answer(&asked) {
            Answer::Found(body) => answer(&mut write, "200 OK", &body).await,
            Answer::Missing => {
                let failure = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                    "message": "there is no such object",
                });
                answer(&mut write, "404 Not Found", &failure.to_string()).await
            }
            Answer::Events { kind, missed, later } => {
                return drop(stream_events(&mut write, kind, missed, later).await);
            }
            Answer::Silence => std::future::pending().await,
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
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
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
    Some(Asked { method, path, query, body })
}

async fn answer(write: &mut OwnedWriteHalf, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    write.write_all(format!("{head}{body}").as_bytes()).await
}

async fn stream_events(
    write: &mut OwnedWriteHalf,
    kind: &'static str,
    missed: Vec<String>,
    mut later: broadcast::Receiver<Event>,
) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await?;
    for line in missed {
        write.write_all(chunk(&line).as_bytes()).await?;
    }
    loop {
        match later.recv().await {
            Ok((of, line)) if of == kind => write.write_all(chunk(&line).as_bytes()).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
        }
    }
}

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\r\n", line.len())
}
