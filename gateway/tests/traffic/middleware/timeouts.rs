//! How long the plugin may take.

use super::*;

#[tokio::test]
async fn ends_a_wait_for_an_answer_that_the_gateway_would_wait_for() {
    let gateway = Gateway::new();
    let mute = origin(|mut peer| async move { drop(peer.rest().await) }).await;
    gateway.behind(json!([{"name": "t", "timeout": {"answer": "200ms"}}]), mute);
    let answer = get(&gateway, "").await;
    assert!(status(&answer) == 504 && body(&answer).contains("did not answer in time"), "{answer}");
}

#[tokio::test]
async fn breaks_off_an_answer_that_stalls() {
    let gateway = Gateway::new();
    let stalls = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        peer.rest().await;
    })
    .await;
    gateway.behind(json!([{"name": "t", "timeout": {"stall": "300ms"}}]), stalls);
    let answer = get(&gateway, "").await;
    assert_eq!((status(&answer), body(&answer)), (200, "half"));
}

#[tokio::test]
async fn bears_an_answer_that_is_slow_and_goes_on() {
    let gateway = Gateway::new();
    let slow = origin(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            peer.send("x").await;
        }
    })
    .await;
    gateway.behind(json!([{"name": "t", "timeout": {"stall": "500ms"}}]), slow);
    assert_eq!(body(&get(&gateway, "").await), "xxxxxxxx");
}
