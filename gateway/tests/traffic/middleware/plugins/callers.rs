//! Who asks, as plugins are told it, and as what they say of it is kept.

use super::*;
use crate::callers::{READER, know_partners};

#[tokio::test]
async fn is_told_who_asks_where_that_has_been_said_before() {
    let fake = Fake::default();
    let provided = json!([{"name": "who", "phase": "Authenticate"}, {"name": "later", "phase": "Authorize"}]);
    let scene = Scene::new(provided, json!([]), &[fake.serve().await], mirror().await);
    assert_eq!(status(&scene.get("ada").await), 200);
    let told = |at: usize| fake.asked.lock().unwrap()[at].identity.clone();
    let ada = Identity { subject: "ada".to_owned(), permissions: vec!["read".to_owned()] };
    assert_eq!((told(0), told(1)), (None, Some(ada)));
    let claim = "X-Forward-Subject: eve\r\nX-Forward-Permissions: all\r\n";
    assert_eq!(status(&get(&scene.gateway, claim).await), 200);
    assert_eq!((told(2), told(3)), (None, None), "a stranger says it");
}

#[tokio::test]
async fn keys_and_tokens_act_where_the_first_of_them_stands() {
    let fake = Fake::default();
    let own = json!([
        {"name": "a", "apiKey": {"keys": "partners", "optional": true}},
        {"name": "c", "apiKey": {"keys": "partners", "header": "X-Other-Key", "optional": true}},
    ]);
    let provided = json!([{"name": "b", "phase": "Authenticate"}]);
    let scene = Scene::new(provided, own, &[fake.serve().await], mirror().await);
    know_partners(&scene.gateway);
    for header in ["X-Api-Key", "X-Other-Key"] {
        assert_eq!(status(&get(&scene.gateway, &format!("{header}: {READER}\r\n")).await), 200);
        let asked = fake.asked.lock().unwrap().last().unwrap().clone();
        assert_eq!(asked.identity.map(|it| it.subject).as_deref(), Some("acme"), "{header}");
        assert!(!format!("{:?}", asked.headers).contains(READER), "{header}: it does not see the key");
        assert_eq!(status(&get(&scene.gateway, &format!("{header}: guess\r\n")).await), 401);
    }
    assert_eq!(fake.calls(), 2, "it is not asked about who shows what does not hold");
}

#[tokio::test]
async fn who_asks_is_kept_for_as_long_as_the_plugin_says() {
    let fake = Fake::default();
    let provided = json!([{"name": "who", "phase": "Authenticate", "cacheBy": ["X-Want", "Authorization"]}]);
    let guard = json!([{"name": "readers", "permissions": {"require": ["read"]}}]);
    let pod = fake.serve().await;
    let scene = Scene::new(provided.clone(), guard, &[pod], mirror().await);
    let ask = async |headers: &str, asked: usize, what: &str| {
        let before = fake.calls();
        let answer = get(&scene.gateway, headers).await;
        assert_eq!(fake.calls() - before, asked, "{what}: {answer}");
        if status(&answer) == 200 {
            assert_eq!(value(body(&answer), "x-forward-subject"), Some("ada"), "{what}: {answer}");
        }
        status(&answer)
    };
    let kept = "X-Want: kept\r\n";
    assert_eq!(ask(kept, 1, "the first time").await, 200);
    assert_eq!(ask(kept, 0, "kept").await, 200);
    assert_eq!(ask("X-Other: 1\r\nx-WANT: kept\r\n", 0, "what it does not depend on").await, 200);
    for other in ["Authorization: a\r\n", "Authorization: b\r\n", "Authorization: a\r\nAuthorization: b\r\n"]
    {
        assert_eq!(ask(&format!("{kept}{other}"), 1, other).await, 200);
        assert_eq!(ask(&format!("{other}{kept}"), 0, other).await, 200);
    }
    for want in ["ada", "kept-changed"] {
        for _ in 0..2 {
            assert_eq!(ask(&format!("X-Want: {want}\r\n"), 1, want).await, 200);
        }
    }
    for _ in 0..2 {
        assert_eq!(ask("", 1, "it shows nothing").await, 403);
        assert_eq!(ask("X-Want: fail\r\n", 1, "no answer").await, 503);
    }
    let briefly = "X-Want: kept-briefly\r\n";
    assert_eq!(ask(briefly, 1, "for a second").await, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask(briefly, 1, "it is over").await, 200);
    assert_eq!(ask("X-Want: kept-for-ever\r\n", 1, "for ever").await, 200);
    scene.auth.set_unhealthy(true);
    assert_eq!(ask(kept, 0, "the plugin is unhealthy").await, 503);
    scene.auth.set_unhealthy(false);
    assert_eq!(ask(kept, 0, "it is well again").await, 200);
    scene.auth.forget_callers();
    assert_eq!(ask(kept, 1, "it was taken back").await, 200);
    assert_eq!(ask(kept, 0, "kept anew").await, 200);
    set_endpoints(&scene.auth, &[]);
    assert_eq!(ask(kept, 0, "the plugin has no pod").await, 503);
    set_endpoints(&scene.auth, &[pod]);
    assert_eq!(ask(kept, 1, "it has another pod").await, 200);
    // What is kept is who asks, and not that it may.
    let strict = json!([{"name": "writers", "permissions": {"require": ["write"]}}]);
    let scene = Scene::new(provided, strict, &[pod], mirror().await);
    for _ in 0..2 {
        assert_eq!(status(&get(&scene.gateway, kept).await), 403);
    }
}

#[tokio::test]
async fn what_is_said_of_somebody_who_is_known_already_is_not_kept() {
    let fake = Fake::default();
    let who = |name: &str| json!({"name": name, "phase": "Authenticate", "cacheBy": ["X-Want"]});
    let scene =
        Scene::new(json!([who("first"), who("second")]), json!([]), &[fake.serve().await], mirror().await);
    for asked in [2, 1, 1] {
        let before = fake.calls();
        assert_eq!(status(&get(&scene.gateway, "X-Want: kept\r\n").await), 200);
        assert_eq!(fake.calls() - before, asked, "the second may go by what the first has said");
    }
}
