//! A plugin is asked, and what it says is written.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{patch, post},
};
use forward_crds::Plugin;
use forward_gateway::{
    control::{
        index::{Handle, Index, Object},
        registrar,
    },
    data::worker::{Settings, Shared},
    events::Events,
    metrics::Calls,
};
use forward_proto::plugin::v1::{
    self, DescribeRequest, DescribeResponse, HealthRequest, HealthResponse,
    plugin_server::{Plugin as Contract, PluginServer},
};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};
use tonic::{Request, Response, Status};

use crate::objects::{plugin, rolled_out};

const PATIENCE: Duration = Duration::from_secs(20);

/// A plugin that can be made to fail.
#[derive(Clone, Default)]
struct Fake {
    mute: Arc<AtomicBool>,
    unhealthy: Arc<AtomicBool>,
    described: Arc<AtomicUsize>,
    /// How often it was asked for its health, which is among the details.
    polled: Arc<AtomicUsize>,
    is_busy: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Contract for Fake {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        self.described.fetch_add(1, Ordering::Relaxed);
        if self.mute.load(Ordering::Relaxed) {
            return Err(Status::unimplemented("no such service"));
        }
        let route = v1::Route { method: "GET".into(), path: "/x/:id".into(), ..v1::Route::default() };
        let (name, version) = ("pay".into(), "1.0.0".into());
        Ok(Response::new(DescribeResponse {
            name,
            version,
            routes: vec![route],
            config_schema: r#"{"type": "object"}"#.into(),
            ..DescribeResponse::default()
        }))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        let unhealthy = self.unhealthy.load(Ordering::Relaxed);
        let status = if unhealthy {
            v1::health_response::Status::Unhealthy
        } else {
            v1::health_response::Status::Healthy
        };
        let message = if unhealthy { "no database".into() } else { String::new() };
        let polled = self.polled.fetch_add(1, Ordering::Relaxed);
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        let details = is_busy.then(|| ("queue".to_owned(), polled.to_string())).into_iter().collect();
        Ok(Response::new(HealthResponse {
            status: status.into(),
            message,
            details,
            ..HealthResponse::default()
        }))
    }
}

impl Fake {
    async fn serve(&self) -> SocketAddr {
        self.serve_at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn serve_at(&self, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes =
            tonic::service::Routes::new(PluginServer::new(self.clone())).prepare().into_axum_router();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        address
    }
}

/// The API server's way with a status, and the gateway's control side before it.
struct World {
    index: Handle,
    writes: mpsc::UnboundedReceiver<Value>,
    server: Arc<Server>,
    _registrar: tokio_util::task::AbortOnDropHandle<()>,
}

struct Server {
    plugin: Mutex<Plugin>,
    index: Handle,
    writes: mpsc::UnboundedSender<Value>,
    events: Mutex<Vec<(String, String)>>,
    failing: AtomicBool,
}

async fn write(State(server): State<Arc<Server>>, body: String) -> Result<Json<Plugin>, StatusCode> {
    // Server-side apply has a content type of its own.
    let body: Value = serde_json::from_str(&body).unwrap();
    if server.failing.load(Ordering::Relaxed) {
        return Err(StatusCode::CONFLICT);
    }
    let plugin = {
        let mut plugin = server.plugin.lock().unwrap();
        let mut object = serde_json::to_value(&*plugin).unwrap();
        let available = object["status"]["conditions"].as_array().unwrap().iter();
        let available =
            available.filter(|condition| condition["type"] == "Available").cloned().collect::<Vec<_>>();
        let mut status = body["status"].clone();
        status["observedGeneration"] = object["status"]["observedGeneration"].clone();
        status["conditions"].as_array_mut().unwrap().extend(available);
        object["status"] = status;
        let version = object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        *plugin = serde_json::from_value(object).unwrap();
        plugin.clone()
    };
    server.index.change(|index| index.apply(Object::Plugin(Arc::new(plugin.clone()))));
    server.writes.send(body).unwrap();
    Ok(Json(plugin))
}

async fn event(State(server): State<Arc<Server>>, body: String) -> Json<Value> {
    let event: Value = serde_json::from_str(&body).unwrap();
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    assert_eq!(event["regarding"]["uid"], "uid-pay");
    server.events.lock().unwrap().push((text("reason"), text("note")));
    Json(event)
}

impl World {
    /// The Event of this number, once it is there.
    async fn event(&self, number: usize) -> (String, String) {
        let seen = async {
            loop {
                if let Some(event) = self.server.events.lock().unwrap().get(number) {
                    return event.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap()
    }

    async fn new(plugin: Plugin) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let shared = Shared::new(Settings::default(), 1);
        let index = Handle::new(Index::new(shared, "gateway-a"));
        let (sender, writes) = mpsc::unbounded_channel();
        let server = Arc::new(Server {
            plugin: Mutex::new(plugin.clone()),
            index: index.clone(),
            writes: sender,
            events: Mutex::default(),
            failing: AtomicBool::new(false),
        });
        let path = "/apis/goforward.dev/v1alpha1/namespaces/shop/plugins/pay/status";
        let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
        let router =
            Router::new().route(path, patch(write)).route(events, post(event)).with_state(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        index.change(|index| index.apply(Object::Plugin(Arc::new(plugin))));
        let registrar = tokio::spawn(registrar::run(
            client.clone(),
            index.clone(),
            Calls::default(),
            Events::new(client),
        ));
        Self { index, writes, server, _registrar: tokio_util::task::AbortOnDropHandle::new(registrar) }
    }

    fn endpoints(&self, endpoints: &[SocketAddr]) {
        let pods = endpoints.iter().map(|address| {
            json!({
                "addresses": [address.ip().to_string()],
                "targetRef": {"kind": "Pod", "name": format!("pay-{}", address.ip()), "uid": address.to_string()},
            })
        });
        let labels = json!({"goforward.dev/plugin": "pay", "kubernetes.io/service-name": "pay"});
        let slice = json!({
            "metadata": {"namespace": "shop", "name": "pay-abc", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": endpoints.first().map_or(1, |address| address.port())}],
            "endpoints": pods.collect::<Vec<_>>(),
        });
        let slice = serde_json::from_value(slice).unwrap();
        self.index.change(|index| index.apply(Object::Slice(Arc::new(slice))));
    }

    /// The next write.
    async fn write(&mut self) -> Value {
        let body = tokio::time::timeout(PATIENCE, self.writes.recv()).await.unwrap().unwrap();
        assert_eq!(body["metadata"]["uid"], "uid-pay");
        body["status"].clone()
    }

    /// Nothing is written for longer than it takes to write something.
    async fn silence(&mut self) {
        let waited = tokio::time::timeout(Duration::from_millis(600), self.writes.recv()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
}

fn condition(status: &Value, type_: &str) -> Value {
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let condition = conditions.find(|condition| condition["type"] == type_);
    condition.map_or(Value::Null, |condition| json!([condition["status"], condition["reason"]]))
}

fn often() -> Plugin {
    plugin("pay", json!({"health": {"interval": "100ms", "failureThreshold": 2}}), json!({}))
}

#[tokio::test]
async fn registers_a_plugin_in_one_write_and_writes_nothing_more() {
    let fake = Fake::default();
    let mut world = World::new(often()).await;
    world.endpoints(&[fake.serve().await]);
    let status = world.write().await;
    assert_eq!(condition(&status, "Registered"), json!(["True", "Registered"]));
    assert_eq!(condition(&status, "Healthy"), json!(["True", "Healthy"]));
    assert_eq!(status["routes"][0]["path"], "/x/:id");
    assert_eq!(status["health"]["status"], "Healthy");
    assert_eq!(status["configSchema"], json!({"image": "x", "schema": r#"{"type": "object"}"#}));
    world.silence().await;
    assert_eq!(fake.described.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn writes_details_that_change_by_themselves_along_with_what_matters() {
    let fake = Fake::default();
    fake.is_busy.store(true, Ordering::Relaxed);
    let mut world = World::new(often()).await;
    world.endpoints(&[fake.serve().await]);
    let queue =
        |status: &Value| status["health"]["details"]["queue"].as_str().unwrap().parse::<u32>().unwrap();
    let first = queue(&world.write().await);
    world.silence().await;
    fake.unhealthy.store(true, Ordering::Relaxed);
    let status = world.write().await;
    assert_eq!(condition(&status, "Healthy"), json!(["False", "Unhealthy"]));
    assert!(queue(&status) > first, "they are those of now");
}

#[tokio::test]
async fn follows_health_up_and_down() {
    let fake = Fake::default();
    let mut world = World::new(often()).await;
    world.endpoints(&[fake.serve().await]);
    world.write().await;
    fake.unhealthy.store(true, Ordering::Relaxed);
    let status = world.write().await;
    assert_eq!(condition(&status, "Healthy"), json!(["False", "Unhealthy"]));
    assert_eq!(status["health"]["message"], "no database");
    fake.unhealthy.store(false, Ordering::Relaxed);
    assert_eq!(condition(&world.write().await, "Healthy"), json!(["True", "Healthy"]));
    world.endpoints(&[]);
    let status = world.write().await;
    assert_eq!(condition(&status, "Healthy"), json!(["Unknown", "NoReadyEndpoints"]));
    assert_eq!(status["routes"][0]["path"], "/x/:id", "they stay");
}

#[tokio::test]
async fn takes_out_the_pod_that_is_unhealthy_and_lets_it_back_when_it_is_well() {
    let (one, other) = (Fake::default(), Fake::default());
    let mut world = World::new(often()).await;
    let first = one.serve().await;
    let second = other.serve_at((std::net::Ipv4Addr::new(127, 0, 0, 2), first.port()).into()).await;
    world.endpoints(&[first, second]);
    let unhealthy = async |world: &mut World, count: usize| loop {
        let status = world.write().await;
        let pods = status["health"]["unhealthyPods"].as_array().map_or(0, Vec::len);
        if condition(&status, "Healthy") == json!(["True", "Healthy"]) && pods == count {
            return status["health"]["unhealthyPods"][0]["message"].clone();
        }
    };
    unhealthy(&mut world, 0).await;
    other.unhealthy.store(true, Ordering::Relaxed);
    assert_eq!(unhealthy(&mut world, 1).await, "no database");
    let told = (String::from("PodUnhealthy"), "pod pay-127.0.0.2 gets no requests: no database".to_owned());
    assert_eq!(world.event(0).await, told);
    world.silence().await;
    other.unhealthy.store(false, Ordering::Relaxed);
    unhealthy(&mut world, 0).await;
    assert_eq!(world.event(1).await.0, "PodHealthy");
    // Where all say so, the plugin is.
    one.unhealthy.store(true, Ordering::Relaxed);
    other.unhealthy.store(true, Ordering::Relaxed);
    while condition(&world.write().await, "Healthy") != json!(["False", "Unhealthy"]) {}
}

#[tokio::test]
async fn asks_again_until_a_plugin_describes_itself() {
    let fake = Fake::default();
    fake.mute.store(true, Ordering::Relaxed);
    let mut world = World::new(often()).await;
    world.endpoints(&[fake.serve().await]);
    let status = loop {
        let status = world.write().await;
        assert_eq!(condition(&status, "Healthy"), json!(["True", "Healthy"]), "it is asked all the same");
        if condition(&status, "Registered") != Value::Null {
            break status;
        }
    };
    assert_eq!(condition(&status, "Registered"), json!(["False", "DescribeFailed"]));
    let message = status["conditions"].to_string();
    assert!(message.contains("Unimplemented: no such service"), "{message}");
    fake.mute.store(false, Ordering::Relaxed);
    assert_eq!(condition(&world.write().await, "Registered"), json!(["True", "Registered"]));
}

#[tokio::test]
async fn a_replica_that_takes_over_does_not_forget_that_nobody_answers() {
    let health = json!({"status": "Unknown", "timestamp": "2026-01-01T00:00:00Z",
                        "message": "1 of 1 pods cannot be asked: nobody is there"});
    let unanswered = json!({"type": "Healthy", "status": "Unknown", "reason": "Unanswered", "message": "",
                           "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut silent = often();
    let status = silent.status.as_mut().unwrap();
    status.health = Some(serde_json::from_value(health).unwrap());
    status.conditions.push(serde_json::from_value(unanswered).unwrap());
    let mut world = World::new(silent).await;
    // Bound, so that no other test gets the address, and not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    world.endpoints(&[nobody.local_addr().unwrap()]);
    loop {
        let status = world.write().await;
        assert_eq!(condition(&status, "Healthy"), json!(["Unknown", "Unanswered"]));
        if status["health"]["message"].as_str().unwrap().contains("the gateway may be the one that fails") {
            break;
        }
    }
}

#[tokio::test]
async fn describes_each_pod_once_and_registers_each_generation() {
    let fake = Fake::default();
    let mut world = World::new(often()).await;
    let address = fake.serve().await;
    world.endpoints(&[address]);
    world.write().await;
    let mut next = world.server.plugin.lock().unwrap().clone();
    rolled_out(&mut next, 2);
    next.metadata.resource_version = Some("50".to_owned());
    *world.server.plugin.lock().unwrap() = next.clone();
    world.index.change(|index| index.apply(Object::Plugin(Arc::new(next))));
    let status = world.write().await;
    assert_eq!(status["conditions"][1]["observedGeneration"], 2);
    assert_eq!(fake.described.load(Ordering::Relaxed), 1);
    world.endpoints(&[Fake::default().serve().await]);
    world.silence().await;
}

#[tokio::test]
async fn tries_again_to_write_what_could_not_be_written() {
    let fake = Fake::default();
    let mut world = World::new(often()).await;
    world.server.failing.store(true, Ordering::Relaxed);
    world.endpoints(&[fake.serve().await]);
    world.silence().await;
    world.server.failing.store(false, Ordering::Relaxed);
    assert_eq!(condition(&world.write().await, "Registered"), json!(["True", "Registered"]));
}

#[tokio::test]
async fn leaves_a_plugin_to_another_replica() {
    let fake = Fake::default();
    let mut world = World::new(often()).await;
    world.index.change(|index| index.apply(crate::objects::own(&["gateway-b"])));
    world.endpoints(&[fake.serve().await]);
    world.silence().await;
    assert_eq!(fake.described.load(Ordering::Relaxed), 0);
    world.index.change(|index| index.apply(crate::objects::own(&["gateway-a"])));
    assert_eq!(condition(&world.write().await, "Registered"), json!(["True", "Registered"]));
}
