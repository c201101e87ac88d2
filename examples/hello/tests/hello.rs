//! The plugin as a process, asked over HTTP.

use example_testing::Process;
use serde_json::json;

const HELLO: &str = env!("CARGO_BIN_EXE_hello");

#[test]
fn greets_by_name() {
    let hello = Process::start(HELLO, "greets-by-name", &json!({}), &[]);
    assert_eq!(hello.get("/hello/Ada").body, "Hello, Ada!\n");
}

#[test]
fn greets_as_configured() {
    let hello = Process::start(HELLO, "greets-as-configured", &json!({"greeting": "Good morning"}), &[]);
    assert_eq!(hello.get("/hello/Ada").body, "Good morning, Ada!\n");
}
