//! The plugin as a process, asked over HTTP.

#[path = "../../process.rs"]
mod process;

use process::Process;

const HELLO: &str = env!("CARGO_BIN_EXE_hello");

#[test]
fn greets_by_name() {
    let hello = Process::start(HELLO, "greets-by-name", "{}", &[]);
    assert_eq!(hello.get("/hello/Ada"), (200, "Hello, Ada!\n".to_owned()));
}

#[test]
fn greets_as_configured() {
    let hello = Process::start(HELLO, "greets-as-configured", r#"{"greeting": "Good morning"}"#, &[]);
    assert_eq!(hello.get("/hello/Ada"), (200, "Good morning, Ada!\n".to_owned()));
}
