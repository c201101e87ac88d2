//! Calls a Service for a hook. A tenant names the Service, so that care is taken that the call ends
//! at pods of the tenant's namespace and nowhere else: only at the address that the API server gave
//! the Service, only where it selects pods, and without following redirects. Of the answer nothing
//! is told but its status.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use forward_crds::HookHttp;
use forward_plan::{HookCall, HookRun};
use futures::future::{Either, select};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use super::{HookKind, Ran, places::Places};
use crate::{
    apply::{Kind, call_api},
    error::Error,
    index::{Snapshot, lock},
    watch::Sink,
};

/// The time between two tries to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// Since when hooks are due, by the ids of their runs.
type Due = BTreeMap<String, Instant>;

/// The calls of this replica. They end when it is dropped: who acts next makes them anew.
pub struct Calls {
    client: Client,
    pub sink: Sink,
    /// When this process first saw the hooks of a plugin due, by the ids of their runs.
    due: Mutex<BTreeMap<(String, String), Due>>,
    /// Those that are under way, by the ids of their runs: since when, once there is a place for them.
    going: Arc<Mutex<BTreeMap<String, Option<Instant>>>>,
    /// Others wait, and their time does not run.
    places: Arc<Places>,
    tasks: Mutex<JoinSet<()>>,
}

/// A call that is to be made.
#[derive(Clone)]
pub struct Target {
    pub namespace: String,
    pub plugin: String,
    pub version: String,
    pub call: HookCall,
    pub http: HookHttp,
    pub limit: Duration,
    /// Why the plugin is where it is.
    pub message: String,
}

/// Why a call did not succeed: told in the plugin's status.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("there is no Service {0:?} in the namespace")]
    NoService(String),
    #[error("Service {0:?} {1}; name one that selects pods and has a cluster address")]
    LeadsElsewhere(String, &'static str),
    #[error("Service {0:?} has no port {1}")]
    NoPort(String, i32),
    #[error("cannot read Service {0:?}: {1}")]
    ReadService(String, Error),
    #[error("Service {0:?} does not answer: {1}")]
    Connect(String, std::io::Error),
    #[error("Service {0:?} does not answer: {1}")]
    Exchange(String, hyper::Error),
    #[error("cannot ask for {0:?}: {1}")]
    Request(String, http::Error),
    #[error("answered with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("did not answer within {} s", .0.as_secs_f64())]
    Late(Duration),
}

impl Calls {
    pub fn new(client: Client, sink: Sink) -> Self {
        Self {
            client,
            sink,
            due: Mutex::default(),
            going: Arc::default(),
            places: Arc::new(Places::new()),
            tasks: Mutex::default(),
        }
    }

    /// Since when the hooks of a plugin are known to be due that are so `now`; others are forgotten.
    pub fn due(&self, snapshot: &Snapshot, now: Instant) -> Due {
        let plugin = &snapshot.plugin;
        let key = (plugin.namespace().unwrap_or_default(), plugin.name_any());
        let mut all = lock(&self.due);
        let before = all.remove(&key).unwrap_or_default();
        let going = lock(&self.going);
        let since = |call: &HookCall| match going.get(&call.id) {
            Some(begun) => begun.unwrap_or(now),
            None => before.get(&call.id).copied().unwrap_or(now),
        };
        let calls = &snapshot.decision.calls;
        let due: Due = calls.iter().map(|call| (call.id.clone(), since(call))).collect();
        if !due.is_empty() {
            all.insert(key, due.clone());
        }
        due
    }

    /// Make a call, unless it is under way.
    pub fn start(&self, target: Target) {
        match lock(&self.going).entry(target.call.id.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(vacant) => vacant.insert(None),
        };
        let (client, sink) = (self.client.clone(), self.sink.clone());
        let (going, places) = (self.going.clone(), self.places.clone());
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            if places.is_full(&target.namespace) {
                let (hook, plugin) = (target.call.hook, target.name());
                tracing::info!(%hook, plugin, "hook waits until fewer are called");
            }
            let place = places.take(&target.namespace).await;
            let begun = Instant::now();
            lock(&going).insert(target.call.id.clone(), Some(begun));
            tracing::info!(hook = %target.call.hook, plugin = target.name(), "hook started");
            let made = target.make(&client).await;
            let took = Some(begun.elapsed());
            let late = matches!(made, Err(CallError::Late(_)));
            let run = match made {
                Ok(()) => HookRun::Succeeded,
                Err(error) => HookRun::Failed { message: error.to_string() },
            };
            drop(place);
            tracing::info!(hook = %target.call.hook, plugin = target.name(), ?run, "hook ended");
            let Target { namespace, plugin, call, .. } = &target;
            sink.answer(namespace, plugin, &call.id, Ran { run, kind: HookKind::Http, late, took });
            lock(&going).remove(&call.id);
        });
    }
}

impl Target {
    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.plugin)
    }

    async fn make(&self, client: &Client) -> Result<(), CallError> {
        let late = |_| CallError::Late(self.limit);
        let status = tokio::time::timeout(self.limit, self.ask(client)).await.map_err(late)??;
        if status.is_success() { Ok(()) } else { Err(CallError::Status(status)) }
    }

    async fn ask(&self, client: &Client) -> Result<StatusCode, CallError> {
        let service = &self.http.service;
        let stream = self.connect(client).await?;
        let request = self.request().map_err(|error| CallError::Request(self.http.path.clone(), error))?;
        let failed = |error| CallError::Exchange(service.clone(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let exchange = Box::pin(async move { sender.send_request(request).await });
        let answer = match select(exchange, Box::pin(connection)).await {
            Either::Left((answer, _)) => answer,
            // The answer may have come with the connection's end.
            Either::Right((_, exchange)) => exchange.await,
        };
        Ok(answer.map_err(failed)?.status())
    }

    /// A connection to the Service. While there is none, it may still be on its way up, as all that is
    /// applied together is; nothing has been asked yet, so it is tried again for as long as there is time.
    async fn connect(&self, client: &Client) -> Result<TcpStream, CallError> {
        let end = Instant::now() + self.limit;
        loop {
            match self.try_connect(client).await {
                Err(CallError::NoService(_) | CallError::Connect(..)) if Instant::now() + AGAIN < end => {
                    sleep(AGAIN).await;
                }
                result => return result,
            }
        }
    }

    async fn try_connect(&self, client: &Client) -> Result<TcpStream, CallError> {
        let address = self.address(client).await?;
        let connected = TcpStream::connect(address).await;
        connected.map_err(|error| CallError::Connect(self.http.service.clone(), error))
    }

    /// The Service's own address. Its name could be made to mean any other.
    async fn address(&self, client: &Client) -> Result<SocketAddr, CallError> {
        let (service, port) = (&self.http.service, self.http.port);
        let api = Api::<Service>::namespaced(client.clone(), &self.namespace);
        let found = call_api("read", Service::NAME, service, api.get_opt(service)).await;
        let found = found.map_err(|error| CallError::ReadService(service.clone(), error))?;
        let spec = found.ok_or_else(|| CallError::NoService(service.clone()))?.spec.unwrap_or_default();
        let elsewhere = |why| CallError::LeadsElsewhere(service.clone(), why);
        let ServiceSpec { type_, selector, cluster_ip, ports, .. } = spec;
        if type_.as_deref() == Some("ExternalName") {
            return Err(elsewhere("stands for a name elsewhere"));
        }
        if selector.is_none_or(|selector| selector.is_empty()) {
            return Err(elsewhere("selects no pods"));
        }
        let ip = cluster_ip.and_then(|ip| ip.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| elsewhere("has no cluster address"))?;
        let is_its = ports.unwrap_or_default().iter().any(|one| one.port == port);
        let number = u16::try_from(port).ok().filter(|_| is_its);
        let number = number.ok_or_else(|| CallError::NoPort(service.clone(), port))?;
        Ok(SocketAddr::new(ip, number))
    }

    /// A CloudEvent in structured mode.
    pub(super) fn request(&self) -> http::Result<Request<Full<Bytes>>> {
        let Self { namespace, plugin, version, call, http, limit: _, message } = self;
        let HookCall { hook, revision, id, since, going: _ } = call;
        let host = match http.port {
            80 => format!("{}.{namespace}.svc", http.service),
            port => format!("{}.{namespace}.svc:{port}", http.service),
        };
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("/namespaces/{namespace}/plugins/{plugin}"),
            "type": format!("dev.goforward.hook.{hook}"),
            "time": since,
            "datacontenttype": "application/json",
            "data": {"hook": hook, "plugin": plugin, "namespace": namespace, "version": version,
                     "revision": revision, "message": message},
        });
        Request::post(&http.path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .header(header::USER_AGENT, "forward-operator")
            .header(header::CONNECTION, "close")
            .header("idempotency-key", id)
            .body(Full::new(Bytes::from(event.to_string())))
    }
}
