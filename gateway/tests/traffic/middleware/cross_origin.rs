//! What browsers are told of pages of other origins.

use super::*;

const ASK: &str = "Access-Control-Request-Method: GET\r\n";

fn cors(cors: serde_json::Value) -> serde_json::Value {
    json!([{"name": "pages", "cors": cors}])
}

async fn preflight(gateway: &Gateway, headers: &str) -> String {
    gateway.ask(&format!("OPTIONS /x HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await
}

#[tokio::test]
async fn answers_the_browsers_question_for_a_route_that_has_no_options() {
    let gateway = Gateway::new();
    let chain = chain(cors(json!({
        "origins": ["https://shop.example"], "headers": ["X-Tenant"], "credentials": true, "maxAge": "10m",
    })));
    gateway.plugin_with("a", &["GET /x"], &[nobody()], Some(chain));
    let answer = preflight(&gateway, &format!("Origin: https://shop.example\r\n{ASK}")).await;
    assert_eq!(status(&answer), 204, "{answer}");
    for (name, expected) in [
        ("access-control-allow-origin", "https://shop.example"),
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", "X-Tenant"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ] {
        assert_eq!(value(&answer, name), Some(expected), "{name}");
    }
    let delete = "Origin: https://shop.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    let answer = preflight(&gateway, delete).await;
    assert_eq!(
        (status(&answer), value(&answer, "access-control-allow-origin")),
        (204, None),
        "no such route"
    );
    assert_eq!(value(&preflight(&gateway, "").await, "allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn tells_no_other_origin_that_it_may() {
    let gateway = Gateway::new();
    gateway.behind(cors(json!({"origins": ["https://shop.example"]})), mirror().await);
    for origin in [
        "null",
        "https://shop.example.evil",
        "https://SHOP.example",
        "http://shop.example",
        "https://shop.example:444",
        "https://shop.example\r\nOrigin: https://evil.example",
        "",
    ] {
        let answer = preflight(&gateway, &format!("Origin: {origin}\r\n{ASK}")).await;
        assert_eq!(status(&answer), 403, "{origin}");
        let answer = get(&gateway, &format!("Origin: {origin}\r\n")).await;
        assert_eq!((status(&answer), value(&answer, "access-control-allow-origin")), (200, None), "{origin}");
        assert_eq!(value(&answer, "vary"), Some("Origin"), "{origin}");
    }
}

#[tokio::test]
async fn replaces_what_the_plugin_says_and_tells_caches() {
    let gateway = Gateway::new();
    let careless = origin(|mut peer| async move {
        peer.head().await;
        peer.send(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
             Vary: Accept\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    })
    .await;
    let rule = json!({"origins": ["https://shop.example"], "exposeHeaders": ["ETag"]});
    gateway.behind(cors(rule), careless);
    let answer = get(&gateway, "").await;
    assert_eq!(value(&answer, "access-control-allow-origin"), None);
    assert_eq!(value(&answer, "access-control-allow-credentials"), None);
    assert!(answer.contains("vary: Accept") && answer.contains("vary: Origin"), "{answer}");
    let answer = get(&gateway, "Origin: https://shop.example\r\n").await;
    assert_eq!(value(&answer, "access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(value(&answer, "access-control-expose-headers"), Some("ETag"));
}

#[tokio::test]
async fn lets_pages_read_problems_too() {
    let gateway = Gateway::new();
    gateway.behind(cors(json!({"origins": ["*"]})), nobody());
    let answer = get(&gateway, "Origin: null\r\n").await;
    assert_eq!((status(&answer), value(&answer, "access-control-allow-origin")), (503, Some("*")));
}

#[tokio::test]
async fn refuses_credentials_for_everybody() {
    let gateway = Gateway::new();
    gateway.behind(cors(json!({"origins": ["*"], "credentials": true})), mirror().await);
    assert_eq!(status(&get(&gateway, "Origin: https://evil.example\r\n").await), 503);
}
