//! The chain as processes of its own, each with the environment that the operator would give it.

#[path = "../../process.rs"]
mod process;

use process::Process;

const RELAY: &str = env!("CARGO_BIN_EXE_relay");

#[test]
fn a_request_goes_through_the_whole_chain() {
    let back = Process::start(RELAY, "relay-back", "{}", &[]);
    let next = format!("http://{}", back.address);
    let next = [("GOFORWARD_DEPENDENCY_RELAY_BACK", next.as_str())];
    let middle = Process::start(RELAY, "relay-middle", r#"{"next": "relay-back"}"#, &next);
    let next = format!("http://{}", middle.address);
    let next = [("GOFORWARD_DEPENDENCY_RELAY_MIDDLE", next.as_str())];
    let config = r#"{"next": "relay-middle", "entrance": "/relay"}"#;
    let front = Process::start(RELAY, "relay-front", config, &next);
    let whole = r#"{"path":["relay-front","relay-middle","relay-back"]}"#;
    assert_eq!(front.get("/relay"), (200, whole.to_owned()));

    drop(back);
    let (status, body) = front.get("/relay");
    assert_eq!(status, 502);
    assert!(body.contains(r#"the plugin \"relay-middle\" did not answer"#), "{body}");
}
