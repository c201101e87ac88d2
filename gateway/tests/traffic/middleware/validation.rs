//! Bodies are what the schema of an entry asks for, or the plugin does not see them.

use super::*;

fn orders() -> Value {
    json!({
        "type": "object", "required": ["items"], "additionalProperties": false,
        "properties": {"items": {"type": "array", "items": {"type": "object", "required": ["sku"],
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}}}}},
    })
}

async fn guarded(body: Value) -> Gateway {
    let gateway = Gateway::new();
    gateway.behind(json!([{"name": "orders", "validate": {"body": body}}]), mirror().await);
    gateway
}

async fn post(gateway: &Gateway, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: {length}\r\n{headers}\r\n");
    gateway.ask(&format!("{head}{body}")).await
}

const JSON: &str = "Content-Type: application/json\r\n";

fn problem(answer: &str) -> Value {
    assert_eq!(value(answer, "content-type"), Some("application/problem+json"), "{answer}");
    serde_json::from_str(body(answer)).unwrap()
}

#[tokio::test]
async fn what_fits_goes_on_as_it_is() {
    let gateway = guarded(json!({"schema": orders()})).await;
    let sent = "{ \"items\": [ {\"sku\": \"a\"} ] }";
    let answer = post(&gateway, JSON, sent).await;
    assert!(status(&answer) == 200 && answer.ends_with(sent), "{answer}");
    let typed = "Content-Type: application/vnd.shop+json; charset=utf-8\r\n";
    assert_eq!(status(&post(&gateway, typed, sent).await), 200);
}

#[tokio::test]
async fn what_does_not_fit_is_told_all_of_that_at_once() {
    let gateway = guarded(json!({"schema": orders()})).await;
    let answer = post(&gateway, JSON, r#"{"items": [{"sku": 7, "count": 0}, {}], "note": "x"}"#).await;
    assert_eq!(status(&answer), 422, "{answer}");
    let problem = problem(&answer);
    assert_eq!(
        problem["errors"],
        json!([
            {"pointer": "#/items/0/count", "detail": "must be at least 1", "value": "0"},
            {"pointer": "#/items/0/sku", "detail": "must be a string", "value": "7"},
            {"pointer": "#/items/1/sku", "detail": "is required"},
            {"pointer": "#/note", "detail": "is not a property of the schema", "value": "\"x\""},
        ])
    );
    assert_eq!(
        (&problem["middleware"], &problem["detail"]),
        (&json!("orders"), &json!("the body is not what orders asks for in 4 places"))
    );
}

#[tokio::test]
async fn nothing_gets_past_by_the_way_that_it_comes() {
    let gateway = guarded(json!({"schema": orders(), "maxBytes": 200})).await;
    let wrong = r#"{"items": 1}"#;
    for (headers, expected) in [
        (JSON, 422),
        ("", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/json\r\nContent-Type: text/plain\r\n", 415),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 415),
        ("Content-Type: application/json; charset=utf-16\r\n", 415),
        ("Content-Type: application/json\r\nUpgrade: any\r\nConnection: upgrade\r\n", 422),
        ("Content-Type: application/json\r\nConnection: content-type\r\n", 415),
        ("Content-Type: application/json\r\nX-Http-Method-Override: GET\r\n", 422),
    ] {
        let answer = post(&gateway, headers, wrong).await;
        assert_eq!(status(&answer), expected, "{headers}: {answer}");
    }
    for (sent, expected) in [
        (r#"{"items": [], "items": 1}"#, 400),
        ("", 400),
        (" ", 400),
        (r#"{"items": []} {}"#, 400),
        (r#"{"items": [1e999]}"#, 400),
        (&"[".repeat(190), 400),
        (&format!("{{\"items\": []}}{}", " ".repeat(200)), 413),
        ("null", 422),
    ] {
        let answer = post(&gateway, JSON, sent).await;
        assert_eq!(status(&answer), expected, "{sent}: {answer}");
    }
    let get = format!("GET /x HTTP/1.1\r\n{CLOSE}{JSON}Content-Length: {}\r\n\r\n{wrong}", wrong.len());
    assert_eq!(status(&gateway.ask(&get).await), 422, "a method does not excuse a body");
}

#[tokio::test]
async fn a_body_in_pieces_is_judged_whole() {
    let gateway = Gateway::new();
    let plugin = origin(|mut peer| async move {
        let head = peer.head().await;
        let body = peer.until("0\r\n\r\n").await;
        let seen = format!("{head}{body}");
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len())).await;
    })
    .await;
    let entry = json!({"name": "orders", "validate": {"body": {"schema": orders(), "maxBytes": 64}}});
    gateway.behind(json!([entry]), plugin);
    let chunked = |pieces: &[&str]| {
        let chunks =
            pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect::<String>();
        format!("POST /x HTTP/1.1\r\n{CLOSE}{JSON}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    let answer = gateway.ask(&chunked(&["{\"items\":", " [{\"sku\": ", "\"a\"}]}"])).await;
    assert!(status(&answer) == 200 && answer.contains("{\"items\": [{\"sku\": \"a\"}]}"), "{answer}");
    assert_eq!(status(&gateway.ask(&chunked(&["{\"items\":", " 1}"])).await), 422);
    assert_eq!(status(&gateway.ask(&chunked(&[])).await), 400, "an empty one");
    assert_eq!(status(&gateway.ask(&chunked(&[&" ".repeat(40), &" ".repeat(40)])).await), 413);
}

#[tokio::test]
async fn requests_without_a_body_go_on_where_that_is_usual_or_said() {
    let strict = guarded(json!({"schema": orders()})).await;
    assert_eq!(status(&get(&strict, "").await), 200);
    assert_eq!(status(&post(&strict, "", "").await), 400);
    let lenient = guarded(json!({"schema": orders(), "optional": true})).await;
    assert_eq!(status(&post(&lenient, "", "").await), 200);
    assert_eq!(status(&post(&lenient, JSON, "1").await), 422);
    assert_eq!(status(&post(&lenient, "", "1").await), 415, "what is there is judged");
}

#[tokio::test]
async fn a_large_body_is_judged_and_holds_its_room_no_longer() {
    let gateway =
        guarded(json!({"schema": {"type": "array", "items": {"type": "string"}}, "maxBytes": 1_048_576}))
            .await;
    let room = gateway.shared.gathering.available_permits();
    let strings = format!("[{}]", vec!["\"abc\""; 20_000].join(","));
    let answer = post(&gateway, JSON, &strings).await;
    assert!(status(&answer) == 200 && answer.ends_with(&strings));
    for (wrong, told) in [(5_000, 100), (20_000, 1)] {
        let numbers = format!("[{}]", vec!["7"; wrong].join(","));
        let answer = post(&gateway, JSON, &numbers).await;
        assert_eq!((status(&answer), problem(&answer)["errors"].as_array().unwrap().len()), (422, told));
    }
    let (shared, workers) = (gateway.shared.clone(), gateway.shared.workers());
    until(move || {
        shared.gathering.available_permits() == room && shared.judging.available_permits() == workers
    })
    .await;
}

#[tokio::test]
async fn a_limit_before_it_acts_before_the_body_is_read() {
    let gateway = Gateway::new();
    let entries = json!([
        {"name": "a", "validate": {"body": {"schema": orders()}}},
        {"name": "b", "rateLimit": {"requests": 1, "per": "1h"}},
    ]);
    gateway.behind(entries, mirror().await);
    assert_eq!(status(&post(&gateway, JSON, "1").await), 422);
    let answer = gateway.ask(&format!("POST /x HTTP/1.1\r\n{CLOSE}{JSON}Content-Length: 5\r\n\r\n")).await;
    assert_eq!(status(&answer), 429, "it waited for the body");
}

#[tokio::test]
async fn without_room_for_the_body_the_client_is_to_come_again() {
    let gateway = guarded(json!({"schema": orders()})).await;
    let all = u32::try_from(gateway.shared.gathering.available_permits()).unwrap();
    let _held = gateway.shared.gathering.try_acquire_many(all).unwrap();
    let answer = post(&gateway, JSON, "{}").await;
    assert_eq!((status(&answer), value(&answer, "retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn clients_of_one_plugin_leave_room_and_turns_for_those_of_others() {
    let settings = Settings { upstream_timeout: Duration::from_millis(300), ..Settings::default() };
    let gateway = Gateway::with(settings);
    let schema = json!({"type": "array", "items": {"type": "string"}});
    let entry = json!([{"name": "list", "validate": {"body": {"schema": schema, "maxBytes": 1_048_576}}}]);
    let plugin = mirror().await;
    let one = gateway.plugin_with("one", &["* /one"], &[plugin], Some(chain(entry.clone())));
    gateway.plugin_with("other", &["* /other"], &[plugin], Some(chain(entry)));
    let large = format!("[{}]", vec!["\"abc\""; 20_000].join(","));
    let post = async |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\n{CLOSE}{JSON}Content-Length: {}\r\n\r\n", large.len());
        gateway.ask(&format!("{head}{large}")).await
    };
    let eighth = gateway.shared.gathering.available_permits() / 8;
    let held = one.room(&gateway.shared).take(eighth).unwrap();
    let refused = post("/one").await;
    assert_eq!((status(&refused), value(&refused, "retry-after")), (503, Some("1")));
    assert_eq!(status(&post("/other").await), 200);
    drop(held);
    let judging = one.judging.acquire().await.unwrap();
    let (refused, other) = futures::join!(post("/one"), post("/other"));
    assert_eq!((status(&refused), value(&refused, "retry-after")), (503, Some("1")), "no turn for so long");
    assert_eq!(status(&other), 200);
    drop(judging);
    assert_eq!(status(&post("/one").await), 200);
}

#[tokio::test]
async fn nothing_goes_past_an_entry_whose_schema_is_none() {
    let gateway = guarded(json!({"schema": {"type": "text"}})).await;
    assert_eq!(status(&post(&gateway, JSON, "{}").await), 503);
}
