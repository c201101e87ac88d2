//! How a plugin that cannot work ends, and what it says.

use crate::plugin::Plugin;

/// Runs a plugin to its end, which is a failure.
async fn message(name: &str, config: &str, environment: &[(&str, &str)]) -> String {
    let (code, message) = Plugin::spawn(name, config, environment).await.ended().await;
    assert_eq!(code, Some(1), "{message}");
    message
}

#[tokio::test]
async fn a_failing_verb_ends_the_process_with_its_message() {
    let config = r#"{"failInitialize": "no licence"}"#;
    assert_eq!(message("fails-initialize", config, &[]).await, "initialize failed: no licence");
    let config = r#"{"failStart": "no database"}"#;
    assert_eq!(message("fails-start", config, &[]).await, "start failed: no database");
}

#[tokio::test]
async fn a_panic_ends_the_process_with_its_message() {
    let config = r#"{"panic": "impossible"}"#;
    assert_eq!(message("panics", config, &[]).await, "initialize panicked: impossible");
    let config = r#"{"panicInRoutes": "impossible"}"#;
    assert_eq!(message("panics-in-routes", config, &[]).await, "the plugin's code panicked: impossible");
}

#[tokio::test]
async fn verbs_end_at_the_timeout_even_when_they_block() {
    let limit = [("GOFORWARD_TIMEOUT", "200ms")];
    let slow = message("times-out", r#"{"initializeDelay": "1h"}"#, &limit).await;
    assert_eq!(slow, "initialize did not finish within 200ms");
    let blocked = message("blocks", r#"{"block": true}"#, &limit).await;
    assert_eq!(blocked, "initialize did not finish within 200ms");
    let never = message("never-ready", r#"{"neverReady": true}"#, &limit).await;
    assert_eq!(never, "start did not finish within 200ms");
}

#[tokio::test]
async fn a_bad_configuration_is_explained_whole() {
    let config = r#"{"initializeDelay": 5, "neverReady": "yes", "allocate": "64MB", "prefx": "/t"}"#;
    let message = message("bad-config", config, &[]).await;
    let problems: Vec<_> = message.split("; ").collect();
    assert_eq!(problems[0], "config: /allocate: expected an amount of memory such as 64Mi");
    assert_eq!(
        problems[1],
        "/initializeDelay: expected a duration such as 500ms, 10s or 1m30s, found a whole number"
    );
    assert_eq!(problems[2], "/neverReady: expected a boolean, found a string");
    assert!(problems[3].starts_with("/prefx is not a field"), "{message}");
}

#[tokio::test]
async fn a_configuration_that_the_plugins_own_schema_refuses_is_not_read() {
    let message = message("own-schema", r#"{"exitCode": 256, "prefx": "/t"}"#, &[]).await;
    assert_eq!(message, "config: /exitCode: must be at most 255, found 256");
}

#[tokio::test]
async fn routes_that_cannot_be_served_are_named() {
    let message = message("bad-routes", r#"{"prefix": "t"}"#, &[]).await;
    assert_eq!(message, "routes: GET t/: the path must start with '/'");
}

#[tokio::test]
async fn a_crash_keeps_its_exit_code() {
    let plugin = Plugin::spawn("crashes", r#"{"crashAfter": "1ms", "exitCode": 3}"#, &[]).await;
    assert_eq!(plugin.ended().await.0, Some(3));
}
