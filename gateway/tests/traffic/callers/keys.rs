//! Callers with keys, and what they are permitted.

use serde_json::json;

use super::*;

#[tokio::test]
async fn knows_who_has_a_key_and_tells_the_plugin_instead_of_it() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    gateway.behind(json!([partners()]), mirror().await);
    let answer = get(&gateway, &format!("X-Api-Key: {WRITER}\r\n")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(told(&answer), (Some("globex"), Some("orders:read orders:write"), Some("apiKey")));
    assert!(!answer.contains(WRITER), "{answer}");
}

#[tokio::test]
async fn asks_for_a_key_and_says_what_is_wrong_with_one() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    gateway.behind(json!([partners()]), mirror().await);
    for (headers, expected, reason) in [
        ("", 401, "does not say who asks"),
        ("X-Api-Key: guess\r\n", 401, "not known"),
        ("X-Api-Key:\r\n", 401, "not known"),
        (&format!("X-Api-Key: {OLD}\r\n"), 401, "expired"),
        (&format!("X-Api-Key: {ELSEWHERE}\r\n"), 401, "not known"),
        (&format!("X-Api-Key: {SHORT}\r\n"), 401, "not known"),
        (&format!("X-Api-Key: {READER}x\r\n"), 401, "not known"),
        (&format!("X-Api-Key: {}\r\n", hash(READER)), 401, "not known"),
        (&format!("X-Api-Key: {READER}\r\nx-api-key: {READER}\r\n"), 400, "more than once"),
        (&format!("X-Api-Key: {READER}, {READER}\r\n"), 401, "not known"),
        (&format!("Authorization: ApiKey {READER}\r\n"), 401, "does not say who asks"),
        (&format!("Cookie: X-Api-Key={READER}\r\n"), 401, "does not say who asks"),
    ] {
        let answer = get(&gateway, headers).await;
        assert_eq!(status(&answer), expected, "{headers}");
        assert!(body(&answer).contains(reason), "{headers}: {answer}");
        let asked: &[&str] = if expected == 401 { &["ApiKey realm=\"partners\""] } else { &[] };
        assert_eq!(challenges(&answer), asked, "{headers}");
    }
}

#[tokio::test]
async fn looks_where_the_entry_says_and_nowhere_else() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let entry = with(partners(), "apiKey", json!({"header": "Authorization", "query": "key"}));
    gateway.behind(json!([entry]), mirror().await);
    for (target, headers, expected) in [
        ("/x", format!("Authorization: ApiKey {READER}\r\n"), 200),
        ("/x", format!("Authorization: bearer {READER}\r\n"), 200),
        ("/x", format!("Authorization: Basic {READER}\r\n"), 401),
        ("/x", format!("Authorization: {READER}\r\n"), 401),
        ("/x", format!("Authorization: Bearer\t{READER}\r\n"), 401),
        ("/x", format!("X-Api-Key: {READER}\r\n"), 401),
        (&format!("/x?key={READER}"), String::new(), 200),
        (&format!("/x?Key={READER}"), String::new(), 401),
        (&format!("/x?key={READER}&key={READER}"), String::new(), 400),
        // What is shown must be known everywhere.
        (&format!("/x?key={READER}"), "Authorization: ApiKey guess\r\n".to_owned(), 401),
        ("/x?key=guess", format!("Authorization: ApiKey {READER}\r\n"), 401),
    ] {
        let answer = get_at(&gateway, target, &headers).await;
        assert_eq!(status(&answer), expected, "{target} {headers}");
    }
    let answer = get_at(&gateway, &format!("/x?a=b&key={READER}&c"), "").await;
    assert!(body(&answer).starts_with("GET /x?a=b&c HTTP/1.1\r\n"), "{answer}");
    let by_default = Gateway::new();
    know_partners(&by_default);
    by_default.behind(json!([partners()]), mirror().await);
    assert_eq!(status(&get_at(&by_default, &format!("/x?key={READER}&X-Api-Key={READER}"), "").await), 401);
}

#[tokio::test]
async fn cannot_say_who_asks_without_the_keys() {
    let gateway = Gateway::new();
    gateway.behind(json!([partners()]), mirror().await);
    let key = format!("X-Api-Key: {READER}\r\n");
    assert_eq!(status(&get(&gateway, "").await), 401);
    let answer = get(&gateway, &key).await;
    assert!(status(&answer) == 503 && body(&answer).contains("set of keys partners"), "{answer}");
    fill(
        &gateway,
        &[(
            "partners",
            json!({"plugins": ["other/origin", "test/other"], "keys": [{"hash": hash(READER), "subject": "acme"}]}),
        )],
    );
    let answer = get(&gateway, &key).await;
    assert!(status(&answer) == 503 && body(&answer).contains("not for the plugin"), "{answer}");
    know_partners(&gateway);
    assert_eq!(status(&get(&gateway, &key).await), 200);
    fill(&gateway, &[]);
    assert_eq!(status(&get(&gateway, &key).await), 503);
}

#[tokio::test]
async fn lets_nobody_in_particular_through_where_that_is_enough() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let entry = with(partners(), "apiKey", json!({"optional": true}));
    gateway.behind(json!([entry]), mirror().await);
    let nobody = get(&gateway, "X-Forward-Subject: admin\r\n").await;
    assert_eq!((status(&nobody), told(&nobody)), (200, (None, None, None)));
    assert_eq!(status(&get(&gateway, "X-Api-Key: guess\r\n").await), 401);
    let known = get(&gateway, &format!("X-Api-Key: {READER}\r\n")).await;
    assert_eq!(told(&known).0, Some("acme"));
}

#[tokio::test]
async fn shows_the_plugin_a_key_only_if_told_to() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    gateway.behind(json!([with(partners(), "apiKey", json!({"forward": true}))]), mirror().await);
    let answer = get(&gateway, &format!("X-Api-Key: {READER}\r\nX_Api_Key: guess\r\n")).await;
    assert_eq!(value(body(&answer), "x-api-key"), Some(READER));
    assert_eq!(value(body(&answer), "x_api_key"), None);
}

#[tokio::test]
async fn asks_for_permissions_and_names_the_one_that_is_missing() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let entries = json!([
        with(partners(), "apiKey", json!({"optional": true})),
        {"name": "reads", "permissions": {"require": ["orders:read"]}},
        {"name": "writes", "permissions": {"require": ["orders:write"]}},
    ]);
    gateway.behind(entries, mirror().await);
    let nobody = get(&gateway, "").await;
    assert_eq!((status(&nobody), challenges(&nobody)), (401, vec!["ApiKey realm=\"partners\""]));
    let reader = get(&gateway, &format!("X-Api-Key: {READER}\r\n")).await;
    let problem: Value = serde_json::from_str(body(&reader)).unwrap();
    assert_eq!((status(&reader), &problem["permission"]), (403, &json!("orders:write")));
    assert_eq!(status(&get(&gateway, &format!("X-Api-Key: {WRITER}\r\n")).await), 200);
    assert_eq!(status(&get(&gateway, "X-Forward-Permissions: orders:read orders:write\r\n").await), 401);
}

#[tokio::test]
async fn permissions_without_anything_that_says_who_asks_let_nobody_in() {
    let gateway = Gateway::new();
    let plugin = mirror().await;
    for needed in [json!({"require": ["orders:read"]}), json!({})] {
        gateway.behind(json!([{"name": "reads", "permissions": needed}]), plugin);
        let answer = get(&gateway, &format!("X-Api-Key: {READER}\r\n")).await;
        assert!(status(&answer) == 403 && body(&answer).contains("nothing says who asks"), "{answer}");
    }
}

#[tokio::test]
async fn who_is_known_may_be_enough() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let optional = with(partners(), "apiKey", json!({"optional": true}));
    gateway.behind(json!([optional, {"name": "known", "permissions": {}}]), mirror().await);
    assert_eq!(status(&get(&gateway, "").await), 401);
    assert_eq!(status(&get(&gateway, &format!("X-Api-Key: {READER}\r\n")).await), 200);
}

#[tokio::test]
async fn limits_can_count_by_caller() {
    let gateway = Gateway::new();
    know_partners(&gateway);
    let limit = json!({"name": "each", "rateLimit": {"requests": 1, "per": "1h", "by": "Header", "header": "X-Forward-Subject"}});
    gateway.behind(json!([partners(), limit]), mirror().await);
    for (key, expected) in [(READER, 200), (READER, 429), (WRITER, 200)] {
        assert_eq!(status(&get(&gateway, &format!("X-Api-Key: {key}\r\n")).await), expected, "{key}");
    }
}
