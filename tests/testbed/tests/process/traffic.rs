//! What requests meet.

use futures::{SinkExt, StreamExt};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::plugin::Plugin;

#[tokio::test]
async fn speaks_http_1_and_http_2_on_one_port() {
    let plugin = Plugin::start("protocols", "{}", &[("GOFORWARD_PLUGIN_VERSION", "2.0.0")]).await;
    for (http2, protocol) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Full<&[u8]>>();
        let version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let uri = format!("http://{}/testbed/protocols/request?a=b", plugin.address);
        let request = Request::put(uri).version(version).header("x-test", "1").body(Full::default()).unwrap();
        let body = client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let seen: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(seen["protocol"], protocol);
        assert_eq!((&seen["name"], &seen["version"]), (&"protocols".into(), &"2.0.0".into()));
        assert_eq!((&seen["method"], &seen["headers"]["x-test"][0]), (&"PUT".into(), &"1".into()));
    }
}

#[tokio::test]
async fn a_panic_costs_only_its_request() {
    let mut plugin = Plugin::start("survives", "{}", &[]).await;
    let (status, body) = plugin.get("/testbed/survives/panic").await;
    assert_eq!((status, body.contains("failed to answer")), (500, true));
    let line = plugin.await_line("the plugin's code panicked").await;
    assert_eq!(line["panic"], "asked to panic");
    assert_eq!(plugin.get("/testbed/survives/status/204").await.0, 204);
}

#[tokio::test]
async fn tries_to_write_and_says_what_came_of_it() {
    let plugin = Plugin::start("writes", "{}", &[]).await;
    let file = plugin.folder().join("a-file");
    for (path, written) in [(file.clone(), true), (plugin.folder().join("no-folder/a-file"), false)] {
        let uri = format!("http://{}/testbed/writes/write?path={}", plugin.address, path.display());
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<&[u8]>>();
        let request = Request::post(uri).body(Full::default()).unwrap();
        let body = client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let outcome: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&outcome["written"], outcome["error"].is_string()), (&written.into(), !written));
    }
    assert!(file.exists());
}

#[tokio::test]
async fn upgrades_to_web_sockets() {
    let plugin = Plugin::start("sockets", "{}", &[]).await;
    let url = format!("ws://{}/testbed/sockets/ws", plugin.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn asks_its_dependencies() {
    let dependency = Plugin::start("dependency", "{}", &[]).await;
    let url = format!("http://{}", dependency.address);
    let environment = [("GOFORWARD_DEPENDENCY_THE_OTHER", url.as_str())];
    let mut plugin = Plugin::start("dependent", "{}", &environment).await;
    let (status, body) = plugin.get("/testbed/dependent/call/the-other").await;
    assert_eq!((status, body.contains(r#""name":"dependency""#)), (200, true), "{body}");
    // Whoever asks learns what is wrong, but not how the inside looks; that is for the log.
    let (status, body) = plugin.get("/testbed/dependent/call/nobody").await;
    assert_eq!((status, body.contains("nobody")), (500, false), "{body}");
    let error = plugin.await_line("a dependency is not declared").await["error"].to_string();
    assert!(error.ends_with("declares (the-other)\""), "{error}");
    drop(dependency);
    let (status, body) = plugin.get("/testbed/dependent/call/the-other").await;
    assert_eq!((status, body.contains(&url)), (502, false), "{body}");
    let error = plugin.await_line("a dependency did not answer as it should").await["error"].to_string();
    assert!(error.contains(&url) && error.contains("cannot be reached"), "{error}");
}
