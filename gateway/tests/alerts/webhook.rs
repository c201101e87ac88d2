//! What a server that takes webhooks gets.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::world::{World, nobody, serve, until};

/// A server that takes webhooks, or refuses them.
#[derive(Clone, Default)]
pub struct Server {
    bodies: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<Vec<Value>>>,
    refuses: Arc<AtomicBool>,
    refuses_degraded: Arc<AtomicBool>,
}

async fn take(State(server): State<Server>, Json(body): Json<Value>) -> StatusCode {
    if server.refuses.load(Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if server.refuses_degraded.load(Relaxed) && body["groupLabels"]["alertname"] == "PluginDegraded" {
        server.refused.lock().unwrap().push(body);
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    server.bodies.lock().unwrap().push(body);
    StatusCode::OK
}

impl Server {
    pub fn start(&self, listener: TcpListener) -> SocketAddr {
        serve(Router::new().route("/hook", post(take)).with_state(self.clone()), listener)
    }

    /// The message of this number, once it is there.
    pub async fn message(&self, number: usize) -> Value {
        until("a message", async || self.bodies.lock().unwrap().get(number).cloned()).await
    }

    fn count(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }
}

fn receiver(address: SocketAddr) -> Value {
    json!({"name": "team", "webhook": {
        "url": format!("http://{address}/hook"), "groupWait": "1s", "groupInterval": "1s",
        "repeatInterval": "1h",
    }})
}

/// The status, and the plugins with theirs.
fn told(body: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alerts = body["alerts"].as_array().unwrap().iter();
    let alerts = alerts.map(|it| format!("{} {}", text(&it["labels"]["plugin"]), text(&it["status"])));
    [text(&body["status"])].into_iter().chain(alerts).collect()
}

#[tokio::test]
async fn is_told_together_what_belongs_together_and_when_it_is_over() {
    let server = Server::default();
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), address).await;
    world.fares("pay", false);
    world.fares("stock", false);
    world.fares("cart", true);
    let first = server.message(0).await;
    assert_eq!(told(&first), ["firing", "pay firing", "stock firing"]);
    assert_eq!(first["groupLabels"], json!({"alertname": "PluginUnhealthy", "namespace": "shop"}));
    assert_eq!((first["version"].as_str(), first["receiver"].as_str()), (Some("4"), Some("team")));
    world.fares("pay", true);
    assert_eq!(told(&server.message(1).await), ["firing", "pay resolved", "stock firing"]);
    world.fares("stock", true);
    assert_eq!(told(&server.message(2).await), ["resolved", "stock resolved"]);
    assert_eq!(world.metric("forward_gateway_alerts_firing"), "0");
    let sent = r#"forward_gateway_alerts_notifications_total{kind="webhook",outcome="ok"}"#;
    assert_eq!(world.metric(sent), "3");
}

#[tokio::test]
async fn misses_nothing_while_it_is_down_or_refuses() {
    let address = nobody();
    let world = World::new(receiver(address), address).await;
    world.waits_with_two().await;
    let server = Server::default();
    server.refuses.store(true, Relaxed);
    server.start(TcpListener::bind(address).await.unwrap());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.count(), 0);
    server.refuses.store(false, Relaxed);
    assert_eq!(told(&server.message(0).await), ["firing", "pay resolved", "stock firing"]);
    let event = async || world.events().last().filter(|last| *last == "AlertsDelivered").cloned();
    until("an Event that it is told again", event).await;
    assert_eq!(world.metric("forward_gateway_alerts_waiting"), "0");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn is_told_of_all_groups_but_the_one_that_it_refuses() {
    let server = Server::default();
    server.refuses_degraded.store(true, Relaxed);
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), address).await;
    world.is("cart", "Degraded", "True");
    let event = async || world.events().first().cloned();
    assert_eq!(until("an Event", event).await, "AlertsNotDelivered");
    world.is("pay", "Healthy", "False");
    assert_eq!(told(&server.message(0).await), ["firing", "pay firing"]);
    world.is("pay", "Healthy", "True");
    assert_eq!(told(&server.message(1).await), ["resolved", "pay resolved"]);
    world.is("cart", "Degraded", "False");
    // Not before the gateway knows of it, or it would rightly tell that it was so first.
    let refused =
        async || server.refused.lock().unwrap().last().filter(|it| it["status"] == "resolved").cloned();
    until("a refused message that it is over", refused).await;
    server.refuses_degraded.store(false, Relaxed);
    assert_eq!(told(&server.message(2).await), ["resolved", "cart resolved"]);
    let event = async || (world.events().len() == 2).then(|| world.events());
    let events = until("an Event that it is told again", event).await;
    assert_eq!(events, ["AlertsNotDelivered", "AlertsDelivered"]);
}

#[tokio::test]
async fn hears_the_end_of_what_it_was_told_under_other_terms() {
    let server = Server::default();
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), address).await;
    world.fares("pay", false);
    world.is("cart", "Degraded", "True");
    let mut first = [told(&server.message(0).await), told(&server.message(1).await)];
    first.sort();
    assert_eq!(first, [["firing", "cart firing"], ["firing", "pay firing"]]);
    let mut edited = receiver(address);
    edited["alerts"] = json!(["PluginUnhealthy"]);
    edited["webhook"]["groupWait"] = json!("1h");
    world.tell(&edited);
    assert_eq!(told(&server.message(2).await), ["resolved", "cart resolved"], "it wants no more of it");
    world.fares("pay", true);
    assert_eq!(told(&server.message(3).await), ["resolved", "pay resolved"]);
    // Elsewhere nothing is known of it.
    world.is("cart", "Degraded", "False");
    let mut moved = receiver(address);
    moved["webhook"]["url"] = json!(format!("http://{address}/hook?b"));
    world.fares("pay", false);
    world.tell(&moved);
    assert_eq!(told(&server.message(4).await), ["firing", "pay firing"]);
}

#[tokio::test]
async fn fires_on_while_pods_are_unhealthy_in_turns() {
    let server = Server::default();
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), address).await;
    world.unhealthy("pay", &[("a", 10)]);
    assert_eq!(told(&server.message(0).await), ["firing", "pay firing"]);
    // The other one for less time than it takes to be told.
    world.unhealthy("pay", &[("b", 0)]);
    sleep(Duration::from_secs(3)).await;
    world.unhealthy("pay", &[]);
    assert_eq!(told(&server.message(1).await), ["resolved", "pay resolved"]);
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn is_told_by_one_replica() {
    let server = Server::default();
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), address).await;
    world.ready("gateway-b");
    world.fares("pay", false);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(server.count(), 0, "it is another one's");
    world.ready("gateway-a");
    assert_eq!(told(&server.message(0).await), ["firing", "pay firing"]);
}

#[tokio::test]
async fn is_not_told_where_nobody_allowed_it() {
    let server = Server::default();
    let address = server.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let world = World::new(receiver(address), nobody()).await;
    world.fares("pay", false);
    let event = async || world.events().first().cloned();
    assert_eq!(until("an Event", event).await, "AlertsNotDelivered");
    assert_eq!(server.count(), 0);
}
