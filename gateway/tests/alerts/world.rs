//! A gateway's alerts, with the objects that they come from.

use std::{
    net::{SocketAddr, TcpListener as Listener},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::any};
use forward_crds::PluginSystem;
use forward_gateway::{
    alerts::{self, counts::Counts, post::Poster},
    control::index::{Handle, Index, Object},
    data::worker::{Settings, Shared},
    events::Events as Recorder,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Client, Config};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The reasons of Events, in their order.
type Events = Arc<Mutex<Vec<String>>>;

pub struct World {
    index: Handle,
    events: Events,
    counts: Counts,
    _alerts: AbortOnDropHandle<()>,
}

async fn event(State(events): State<Events>, body: String) -> Json<Value> {
    let event: Value = serde_json::from_str(&body).unwrap();
    events.lock().unwrap().push(event["reason"].as_str().unwrap_or("again").to_owned());
    Json(event)
}

impl World {
    /// With this receiver, which may be told without TLS at this address.
    pub async fn new(receiver: Value, plain: SocketAddr) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let events = Events::default();
        let router = Router::new().fallback(any(event)).with_state(events.clone());
        let address = serve(router, TcpListener::bind("127.0.0.1:0").await.unwrap());
        let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        let index = Handle::new(Index::new(Shared::new(Settings::default(), 1), "gateway-a"));
        let poster = Poster::new(None, vec![format!("http://{plain}").parse().unwrap()]).unwrap();
        let counts = Counts::default();
        let alerts = tokio::spawn(alerts::run(index.clone(), poster, counts.clone(), Recorder::new(client)));
        let world = Self { index, events, counts, _alerts: AbortOnDropHandle::new(alerts) };
        world.tell(&receiver);
        world
    }

    /// This receiver is told from now on.
    pub fn tell(&self, receiver: &Value) {
        let system: PluginSystem = serde_json::from_value(json!({
            "apiVersion": "goforward.dev/v1alpha1", "kind": "PluginSystem",
            "metadata": {"namespace": "shop", "name": "default", "uid": "uid-system"},
            "spec": {"alerts": {"for": "1s", "receivers": [receiver]}},
        }))
        .unwrap();
        self.index.change(|index| index.apply(Object::System(Arc::new(system))));
    }

    /// A plugin says how it fares, and has said so for a while.
    pub fn fares(&self, name: &str, healthy: bool) {
        self.is(name, "Healthy", if healthy { "True" } else { "False" });
    }

    /// A plugin has this condition, and has had it for a while.
    pub fn is(&self, name: &str, type_: &str, status: &str) {
        let condition = json!({
            "type": type_, "status": status, "reason": "x", "message": "no database",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        self.has(name, &json!({"conditions": [condition]}));
    }

    /// Of two alerts, `pay`'s and `stock`'s, the first is over before the receiver can be told of either.
    pub async fn waits_with_two(&self) {
        self.fares("pay", false);
        self.fares("stock", false);
        let event = async || self.events().first().cloned();
        assert_eq!(until("an Event", event).await, "AlertsNotDelivered");
        self.fares("pay", true);
        let waiting = async || (self.metric("forward_gateway_alerts_waiting") == "2").then_some(());
        until("two alerts to wait, one of which is over", waiting).await;
    }

    /// These pods of a plugin have been unhealthy for so many seconds.
    pub fn unhealthy(&self, name: &str, pods: &[(&str, i64)]) {
        let since = |seconds: i64| (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string();
        let pod = |(pod, seconds): &(&str, i64)| json!({"pod": pod, "reason": "Unhealthy", "since": since(*seconds)});
        let pods = pods.iter().map(pod).collect::<Vec<_>>();
        self.has(
            name,
            &json!({"health": {"status": "Healthy", "timestamp": since(0), "unhealthyPods": pods}}),
        );
    }

    fn has(&self, name: &str, status: &Value) {
        let plugin = serde_json::from_value(json!({
            "apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")},
            "spec": {"version": "1.0.0", "image": "x"}, "status": status,
        }));
        self.index.change(|index| index.apply(Object::Plugin(Arc::new(plugin.unwrap()))));
    }

    /// The only replica of the gateway that is ready is this one.
    pub fn ready(&self, name: &str) {
        let slice = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "forward-gateway-abc",
                         "labels": {"kubernetes.io/service-name": "forward-gateway"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": name, "uid": name}}],
        }));
        self.index.change(|index| index.apply(Object::Own(Arc::new(slice.unwrap()))));
    }

    /// The reasons of Events.
    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> String {
        let mut registry = Registry::with_prefix("forward_gateway");
        self.counts.clone().register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_default().to_owned()
    }
}

/// Answer at an address until the test is over.
pub fn serve(router: Router, listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// An address at which nobody answers.
pub fn nobody() -> SocketAddr {
    Listener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Wait until something is as it should be.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}
