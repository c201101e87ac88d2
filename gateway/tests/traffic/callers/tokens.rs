//! Callers with tokens.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

use super::*;

async fn ask(gateway: &Gateway, token: &str) -> String {
    get(gateway, &format!("Authorization: Bearer {token}\r\n")).await
}

#[tokio::test]
async fn knows_who_has_a_token_and_tells_the_plugin_instead_of_it() {
    let (gateway, signer) = (Gateway::new(), Signer::new("one"));
    gateway.behind(json!([people(&[&signer, &Signer::new("two")])]), mirror().await);
    for (claims, permissions) in [
        (json!({"scope": "orders:write orders:read"}), Some("orders:read orders:write")),
        (json!({"scope": ["orders:read", "orders:write all", 5]}), Some("orders:read")),
        (json!({"scope": {"orders": "read"}}), None),
        (json!({"aud": ["x", "bank"]}), None),
        (json!({"iat": null, "nbf": get_current_timestamp() + 20}), None),
    ] {
        let answer = ask(&gateway, &signer.token(claims.clone())).await;
        assert_eq!(status(&answer), 200, "{claims}: {answer}");
        assert_eq!(told(&answer), (Some("ada"), permissions, Some("jwt")), "{claims}");
        assert_eq!(value(body(&answer), "authorization"), None);
    }
}

#[tokio::test]
async fn takes_the_claims_and_the_header_that_the_entry_names() {
    let (gateway, signer) = (Gateway::new(), Signer::new("one"));
    let settings = json!({"header": "X-Token", "subjectClaim": "email", "permissionsClaim": "/realm/roles", "forward": true});
    gateway.behind(json!([with(people(&[&signer]), "jwt", settings)]), mirror().await);
    let token = signer.token(json!({"email": "ada@example.com", "realm": {"roles": ["admin"]}}));
    let answer = get(&gateway, &format!("X-Token: {token}\r\n")).await;
    assert_eq!(told(&answer), (Some("ada@example.com"), Some("admin"), Some("jwt")));
    assert_eq!(value(body(&answer), "x-token"), Some(token.as_str()));
    assert_eq!(status(&ask(&gateway, &token).await), 401);
    assert_eq!(status(&get(&gateway, &format!("X-Token: {}\r\n", signer.token(json!({})))).await), 401);
}

#[tokio::test]
async fn refuses_tokens_that_do_not_hold_and_says_why() {
    let (gateway, signer) = (Gateway::new(), Signer::new("one"));
    gateway.behind(json!([people(&[&signer])]), mirror().await);
    let now = get_current_timestamp();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned =
        |alg: &str| format!("{}.{}.", part(json!({"alg": alg, "typ": "JWT"})), part(good(json!({}))));
    let secret = |bytes: &[u8]| {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &good(json!({})), &EncodingKey::from_secret(bytes).unwrap()).unwrap()
    };
    let named = |edit: &dyn Fn(&mut Header)| {
        let mut header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        edit(&mut header);
        signer.sign(&header, json!({}))
    };
    let good_token = signer.token(json!({}));
    let (head, rest) = good_token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    for (what, token, reason) in [
        ("nothing", String::new(), "malformed"),
        ("no token", "a.b.c".to_owned(), "malformed"),
        ("two parts", format!("{head}.{claims}"), "malformed"),
        ("four parts", format!("{good_token}.x"), "malformed"),
        ("no signature", format!("{head}.{claims}."), "signature"),
        ("padding", format!("{good_token}=="), "malformed"),
        ("none", unsigned("none"), "malformed"),
        ("None", unsigned("None"), "malformed"),
        ("the public key as a secret", secret(signer.public()), "algorithm"),
        ("the JWK as a secret", secret(signer.jwk().to_string().as_bytes()), "algorithm"),
        ("another's key under this name", Signer::new("one").token(json!({})), "signature"),
        ("other claims", format!("{head}.{}.{signature}", part(good(json!({"sub": "root"})))), "signature"),
        ("a key that is not there", Signer::new("two").token(json!({})), "key"),
        ("a critical extension", named(&|header| header.crit = Some(vec!["x".to_owned()])), "malformed"),
        (
            "a key that it brings along",
            {
                let other = Signer::new("mine");
                let jwk = serde_json::from_value(other.jwk()).unwrap();
                let header = Header {
                    jwk: Some(jwk),
                    jku: Some("https://x/".to_owned()),
                    ..Header::new(Algorithm::ES256)
                };
                other.sign(&header, json!({}))
            },
            "signature",
        ),
        ("expired", signer.token(json!({"exp": now - 60})), "expired"),
        ("without an end", signer.token(json!({"exp": null})), "claim"),
        ("an end that is text", signer.token(json!({"exp": "never"})), "claim"),
        ("not yet", signer.token(json!({"nbf": now + 90})), "not hold yet"),
        ("from the future", signer.token(json!({"iat": now + 90})), "not hold yet"),
        ("issued at no time", signer.token(json!({"iat": "now"})), "claim"),
        ("of another issuer", signer.token(json!({"iss": "https://id.example/"})), "issuer"),
        ("of no issuer", signer.token(json!({"iss": null})), "claim"),
        ("for another", signer.token(json!({"aud": "other"})), "somebody else"),
        ("for none", signer.token(json!({"aud": []})), "somebody else"),
        ("for no one said", signer.token(json!({"aud": null})), "claim"),
        ("of nobody", signer.token(json!({"sub": null})), "who asks"),
        ("of nobody in words", signer.token(json!({"sub": ""})), "who asks"),
        ("of a number", signer.token(json!({"sub": 5})), "who asks"),
        ("of two lines", signer.token(json!({"sub": "ada\r\nX-Forward-Permissions: all"})), "who asks"),
        ("of no ASCII", signer.token(json!({"sub": "ädä"})), "who asks"),
    ] {
        let answer = ask(&gateway, &token).await;
        assert_eq!(status(&answer), 401, "{what}: {answer}");
        assert!(body(&answer).contains(reason), "{what}: {answer}");
        assert_eq!(challenges(&answer), ["Bearer realm=\"people\", error=\"invalid_token\""], "{what}");
    }
    assert_eq!(status(&ask(&gateway, &named(&|header| header.kid = None)).await), 200, "there is only one");
    assert_eq!(status(&ask(&gateway, &good_token).await), 200);
}

/// Keys and tokens that pyca/cryptography 48 has made, one for each algorithm, until the year 2100.
#[tokio::test]
async fn knows_tokens_of_every_algorithm_as_others_sign_them() {
    let made: Vec<Value> = serde_json::from_str(include_str!("tokens.json")).unwrap();
    assert_eq!(made.len(), 9);
    // Of RSA all have one key.
    let keys = [0, 6, 7, 8].map(|at| made[at]["key"].clone());
    for one in &made {
        let (algorithm, token) = (one["algorithm"].as_str().unwrap(), one["token"].as_str().unwrap());
        for other in &made {
            let accepted = &other["algorithm"];
            let gateway = Gateway::new();
            let settings = json!({"algorithms": [accepted], "jwks": {"keys": keys}});
            gateway.behind(json!([with(people(&[]), "jwt", settings)]), mirror().await);
            let expected = if accepted == algorithm { 200 } else { 401 };
            assert_eq!(
                status(&ask(&gateway, token).await),
                expected,
                "{algorithm} where {accepted} is accepted"
            );
        }
    }
}

#[tokio::test]
async fn a_token_must_say_which_of_several_keys_it_is_signed_with() {
    let (gateway, one, two) = (Gateway::new(), Signer::new("one"), Signer::new("two"));
    gateway.behind(json!([people(&[&one, &two])]), mirror().await);
    let answer = ask(&gateway, &two.sign(&Header::new(Algorithm::ES256), json!({}))).await;
    assert!(status(&answer) == 401 && body(&answer).contains("which of the issuer's keys"), "{answer}");
    assert_eq!(status(&ask(&gateway, &two.token(json!({}))).await), 200);
}

#[tokio::test]
async fn any_entry_of_several_may_know_the_caller_but_one_must_know_what_is_shown() {
    let (gateway, signer) = (Gateway::new(), Signer::new("one"));
    know_partners(&gateway);
    let bearer = with(partners(), "apiKey", json!({"header": "Authorization"}));
    let second = json!({"name": "z-keys", "apiKey": {"keys": "partners"}});
    gateway.behind(json!([people(&[&signer]), bearer, second]), mirror().await);
    let token = signer.token(json!({}));
    for (headers, expected, subject) in [
        (format!("Authorization: Bearer {token}\r\n"), 200, Some("ada")),
        (format!("Authorization: Bearer {READER}\r\n"), 200, Some("acme")),
        (format!("Authorization: ApiKey {READER}\r\n"), 200, Some("acme")),
        (format!("Authorization: ApiKey {token}\r\n"), 401, None),
        (format!("X-Api-Key: {READER}\r\n"), 200, Some("acme")),
        (format!("X-Api-Key: {READER}\r\nAuthorization: Bearer {token}\r\n"), 200, Some("ada")),
        (format!("X-Api-Key: guess\r\nAuthorization: Bearer {token}\r\n"), 401, None),
        (format!("X-Api-Key: {READER}\r\nAuthorization: Bearer guess\r\n"), 401, None),
        (format!("X-Api-Key: {READER}\r\nAuthorization: Basic YTpi\r\n"), 401, None),
        (String::new(), 401, None),
    ] {
        let answer = get(&gateway, &headers).await;
        assert_eq!((status(&answer), told(&answer).0), (expected, subject), "{headers}");
        if expected == 200 {
            let seen = body(&answer);
            assert_eq!((value(seen, "authorization"), value(seen, "x-api-key")), (None, None), "{headers}");
        }
    }
    let asked = [r#"ApiKey realm="partners""#, r#"Bearer realm="people""#, r#"ApiKey realm="z-keys""#];
    assert_eq!(challenges(&get(&gateway, "").await), asked);
}

#[tokio::test]
async fn of_several_callers_the_first_entry_says_who_it_is() {
    let (gateway, one, two) = (Gateway::new(), Signer::new("one"), Signer::new("two"));
    know_partners(&gateway);
    let last = with(people(&[&two]), "jwt", json!({"header": "X-Api-Key"}));
    let entries = [partners(), people(&[&one]), with_name(last, "z-people")];
    gateway.behind(json!(entries), mirror().await);
    let (ada, bob) = (one.token(json!({})), two.token(json!({"sub": "bob"})));
    for (headers, subject) in [
        (format!("X-Api-Key: {bob}\r\n"), "bob"),
        // The header of the first entry has what only the last one knows.
        (format!("X-Api-Key: {bob}\r\nAuthorization: Bearer {ada}\r\n"), "ada"),
        (format!("X-Api-Key: {READER}\r\nAuthorization: Bearer {ada}\r\n"), "acme"),
    ] {
        let answer = get(&gateway, &headers).await;
        assert_eq!((status(&answer), told(&answer).0), (200, Some(subject)), "{headers}");
    }
}

fn with_name(mut entry: Value, name: &str) -> Value {
    entry["name"] = json!(name);
    entry
}

#[tokio::test]
async fn that_one_entry_cannot_say_is_not_that_the_caller_is_wrong() {
    let (gateway, signer) = (Gateway::new(), Signer::new("one"));
    let unknown = with(partners(), "apiKey", json!({"header": "Authorization"}));
    gateway.behind(json!([people(&[&signer]), unknown]), mirror().await);
    assert_eq!(status(&ask(&gateway, READER).await), 503, "the set of keys is not there");
    assert_eq!(status(&ask(&gateway, &signer.token(json!({}))).await), 200);
}
