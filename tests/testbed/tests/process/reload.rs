//! New configurations while the plugin runs.

use forward_proto::plugin::v1::{
    HealthRequest, Reload, health_response::Status, plugin_client::PluginClient,
};
use serde_json::Value;

use crate::plugin::Plugin;

const TAKEN: &str = "reloaded";
const REFUSED: &str = "a new configuration is not taken; the one before stays";

/// What the plugin tells the gateway of its newest configuration.
async fn told(plugin: &Plugin) -> Option<Reload> {
    let mut client = PluginClient::new(plugin.channel().await);
    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!(health.status(), Status::Healthy, "a configuration is not a matter of health");
    health.reload
}

/// With which configuration it answers, and how many it has taken.
async fn runs_with(plugin: &Plugin) -> (String, u64) {
    let (status, body) = plugin.get("/t/").await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    (body["note"].as_str().unwrap().to_owned(), body["reloads"].as_u64().unwrap())
}

fn reload(config_hash: &str, error: &str) -> Option<Reload> {
    Some(Reload { config_hash: config_hash.to_owned(), error: error.to_owned() })
}

#[tokio::test]
async fn takes_a_new_configuration_and_keeps_it_when_the_next_is_refused() {
    let mut plugin =
        Plugin::start("reloads", r#"{"prefix": "/t", "note": "old"}"#, &[("GOFORWARD_RELOAD", "InPlace")])
            .await;
    assert_eq!(told(&plugin).await, reload("", ""));

    plugin.mount("1", r#"{"note": "new"}"#);
    plugin.await_line(TAKEN).await;
    assert_eq!(runs_with(&plugin).await, ("new".to_owned(), 1));
    assert_eq!(told(&plugin).await, reload("1", ""));

    plugin.mount("2", r#"{"note": 5, "nota": "x"}"#);
    plugin.await_line(REFUSED).await;
    let error = told(&plugin).await.unwrap().error;
    assert!(error.contains("/note: expected a string") && error.contains("/nota"), "{error}");

    plugin.mount("3", r#"{"note": "newer", "failReload": "the database is another one"}"#);
    plugin.await_line(REFUSED).await;
    assert_eq!(told(&plugin).await, reload("3", "reload failed: the database is another one"));
    assert_eq!(runs_with(&plugin).await, ("new".to_owned(), 1));

    plugin.mount("4", r#"{"note": "newest"}"#);
    plugin.await_line(TAKEN).await;
    assert_eq!(runs_with(&plugin).await, ("newest".to_owned(), 2));
    assert_eq!(told(&plugin).await, reload("4", ""));
}

#[tokio::test]
async fn says_nothing_of_configurations_that_it_is_not_to_take() {
    let plugin = Plugin::start("rolls", r#"{"prefix": "/t", "note": "old"}"#, &[]).await;
    assert_eq!(told(&plugin).await, None);
}
