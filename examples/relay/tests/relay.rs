//! The chain as processes of its own, each with the environment that the operator would give it.

use example_testing::Process;
use serde_json::json;

const RELAY: &str = env!("CARGO_BIN_EXE_relay");

#[test]
fn a_request_goes_through_the_whole_chain() {
    let back = Process::start(RELAY, "relay-back", &json!({}), &[]);
    let next = format!("http://{}", back.address);
    let next = [("GOFORWARD_DEPENDENCY_RELAY_BACK", next.as_str())];
    let middle = Process::start(RELAY, "relay-middle", &json!({"next": "relay-back"}), &next);
    let next = format!("http://{}", middle.address);
    let next = [("GOFORWARD_DEPENDENCY_RELAY_MIDDLE", next.as_str())];
    let config = json!({"next": "relay-middle", "entrance": "/relay"});
    let front = Process::start(RELAY, "relay-front", &config, &next);
    assert_eq!(front.get("/relay").json(), json!({"path": ["relay-front", "relay-middle", "relay-back"]}));

    drop(back);
    let answer = front.get("/relay");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["detail"], "the plugin \"relay-middle\" did not answer as it should");
}
