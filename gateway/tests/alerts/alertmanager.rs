//! What a real Alertmanager makes of it.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{self, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::body::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::{
    webhook::Server,
    world::{World, nobody, until},
};

/// A running Alertmanager, which passes everything on to a webhook.
struct Running {
    address: SocketAddr,
    folder: PathBuf,
    process: Child,
}

impl Running {
    /// `None` where there is none to run: `cargo xtask test` builds it and says where it is.
    async fn start(address: SocketAddr, hook: SocketAddr) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let Some(program) = env::var_os("FORWARD_ALERTMANAGER") else {
            eprintln!("FORWARD_ALERTMANAGER does not say where Alertmanager is: nothing was tested");
            return None;
        };
        let name = format!("forward-alertmanager-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let config = json!({
            "route": {"receiver": "hook", "group_by": ["namespace", "alertname"], "group_wait": "1s",
                      "group_interval": "1s", "repeat_interval": "1h"},
            "receivers": [{"name": "hook", "webhook_configs": [{"url": format!("http://{hook}/hook")}]}],
        });
        fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", folder.join("config.yaml").display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let running = Self { address, folder, process };
        until("Alertmanager to answer", async || running.alerts().await).await;
        Some(running)
    }

    /// The alerts that it has, by its API.
    async fn alerts(&self) -> Option<Vec<Value>> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(format!("http://{}/api/v2/alerts", self.address)).body(Empty::new());
        let answer = client.request(request.unwrap()).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    }

    /// The plugins of which it has alerts.
    async fn plugins(&self) -> Vec<String> {
        let alerts = self.alerts().await.unwrap_or_default();
        let mut plugins: Vec<String> =
            alerts.iter().map(|alert| alert["labels"]["plugin"].as_str().unwrap().to_owned()).collect();
        plugins.sort();
        plugins
    }

    async fn has(&self, plugins: &[&str]) {
        let what = format!("it to have alerts of {plugins:?}");
        until(&what, async || (self.plugins().await == plugins).then_some(())).await;
    }

    async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn receiver(address: SocketAddr) -> Value {
    json!({"name": "team", "alertmanager": {"url": format!("http://{address}/")}})
}

/// The names of all that a value holds.
fn shape(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn has_what_is_wrong_and_forgets_what_is_over() {
    let hook = Server::default();
    let hooked = hook.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = nobody();
    let Some(running) = Running::start(address, hooked).await else { return };
    let world = World::new(receiver(address), address).await;
    world.fares("pay", false);
    world.fares("stock", false);
    running.has(&["pay", "stock"]).await;
    let alert = running.alerts().await.unwrap().remove(0);
    assert_eq!(alert["annotations"]["description"], "no database");
    assert_eq!(alert["startsAt"], "2026-01-01T00:00:00.000Z");
    world.fares("pay", true);
    running.has(&["stock"]).await;
    world.fares("stock", true);
    running.has(&[]).await;
}

/// What the gateway posts to webhooks is what Alertmanager posts: the same names, and the same number
/// for the same alert.
#[tokio::test]
async fn posts_to_webhooks_what_the_gateway_posts() {
    let (theirs, ours) = (Server::default(), Server::default());
    let hooked = theirs.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = nobody();
    let Some(running) = Running::start(address, hooked).await else { return };
    let world = World::new(receiver(address), address).await;
    world.fares("pay", false);
    let theirs = theirs.message(0).await;
    running.stop().await;
    let place = ours.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let webhook =
        json!({"name": "hook", "webhook": {"url": format!("http://{place}/hook"), "groupWait": "1s"}});
    let world = World::new(webhook, place).await;
    world.fares("pay", false);
    let ours = ours.message(0).await;
    assert_eq!(shape(&ours), shape(&theirs));
    assert_eq!(shape(&ours["alerts"][0]), shape(&theirs["alerts"][0]));
    for name in
        ["version", "groupKey", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations"]
    {
        assert_eq!(ours[name], theirs[name], "{name}");
    }
    for name in ["fingerprint", "labels", "annotations", "endsAt", "startsAt", "status"] {
        assert_eq!(ours["alerts"][0][name], theirs["alerts"][0][name], "{name}");
    }
}

#[tokio::test]
async fn misses_nothing_while_it_is_down() {
    let hook = Server::default();
    let hooked = hook.start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = nobody();
    let world = World::new(receiver(address), address).await;
    world.waits_with_two().await;
    let Some(running) = Running::start(address, hooked).await else { return };
    running.has(&["stock"]).await;
    running.stop().await;
    world.fares("cart", false);
    let failed = r#"forward_gateway_alerts_notifications_total{kind="alertmanager",outcome="failed"}"#;
    let before = world.metric(failed);
    until("another try", async || (world.metric(failed) != before).then_some(())).await;
    let Some(running) = Running::start(address, hooked).await else { return };
    // It does not keep what is wrong: of what goes on it is told again within a minute.
    let has = async || running.plugins().await.contains(&"cart".to_owned()).then_some(());
    until("it to have what came while it was down", has).await;
}
