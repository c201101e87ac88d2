//! Only who is known reaches a guarded plugin, and the plugin is told who that is.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use forward_tests::{Answer, TestNamespace, await_until, plugin, run, seconds, started};
use http::Request;
use serde_json::{Value, json};

/// The public key of an issuer whose private one is gone, and what it has signed: that Ada may read
/// orders, until the year 2100.
const KEY: &str = "Xnd-zdnrGb51KTWWGcubwBEkt63YDU6I10XX6BYGDD4";
const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6InRlc3QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic3ViIjoiYWRhIiwic2NvcGUiOiJvcmRlcnM6cmVhZCIsImV4cCI6NDEwMjQ0NDgwMH0.7jzn9M-WFnCQEZT3-GCBOwfm4sVJk7qvuwlUb5-mm3HJjJb9NQC6Zk2EVFcELWtFKznoO_NH6f1ww8zERYNrBw";

fn guarded(permission: &str) -> Value {
    let keys = json!([{"kty": "OKP", "crv": "Ed25519", "kid": "test", "x": KEY}]);
    json!({"middleware": [
        {"name": "people", "jwt": {
            "issuer": "https://id.example", "audiences": ["shop"], "algorithms": ["EdDSA"], "jwks": {"keys": keys},
        }},
        // The gateway of the tests has no such keys: nobody is known by them.
        {"name": "partners", "apiKey": {"keys": "not-there"}},
        {"name": "readers", "permissions": {"require": [permission]}},
    ]})
}

async fn ask(ns: &TestNamespace, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut request = Request::get(ns.path("orders")).header("x-forward-subject", "root");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ns.cluster.gateway()?.send(request.body(Default::default())?).await
}

#[tokio::test]
async fn a_guarded_plugin_is_reached_by_who_is_known_and_told_who_that_is() {
    run("a_guarded_plugin_is_reached_by_who_is_known", async |ns| {
        ns.apply(&plugin("orders").set("http", guarded("orders:read"))).await?;
        ns.await_plugin("orders", "to be ready", seconds(60), started).await?;
        let refused = ns.cluster.gateway()?.await_status(&ns.path("orders"), 401, seconds(10)).await?;
        let asked: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
        ensure!(asked == ["ApiKey realm=\"partners\"", "Bearer realm=\"people\""], "{asked:?}");
        let bearer = format!("Bearer {TOKEN}");
        for (headers, expected) in [
            (&[][..], 401),
            (&[("authorization", "Bearer guess")], 401),
            (&[("x-api-key", "guess")], 503),
            (&[("authorization", &*bearer)], 200),
        ] {
            let answer = ask(ns, headers).await?;
            ensure!(answer.status == expected, "{headers:?}: {} {}", answer.status, answer.text());
        }
        let seen = ask(ns, &[("authorization", &*bearer)]).await?.json::<Value>()?["headers"].clone();
        for (name, value) in [
            ("x-forward-subject", json!(["ada"])),
            ("x-forward-permissions", json!(["orders:read"])),
            ("x-forward-auth-method", json!(["jwt"])),
            ("authorization", Value::Null),
        ] {
            ensure!(seen[name] == value, "{name}: {seen}");
        }
        // What is permitted changes with the manifest, at once and without a new pod.
        ns.apply(&plugin("orders").set("http", guarded("orders:write"))).await?;
        await_until("the token to be too little", seconds(20), async || {
            let answer = ask(ns, &[("authorization", &*bearer)]).await?;
            ensure!(answer.status == 403 && answer.text().contains("orders:write"), "{}", answer.status);
            Ok(())
        })
        .await
    })
    .await;
}

/// Who the plugin is told that asks in a session, over so many connections that every replica is met.
async fn known(ns: &TestNamespace) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for _ in 0..30 {
        let seen = ask(ns, &[("x-session", "ada")]).await?.json::<Value>()?["headers"].clone();
        known.insert(seen["x-forward-subject"][0].as_str().context("a subject")?.to_owned());
    }
    Ok(known)
}

#[tokio::test]
async fn who_asks_is_kept_until_it_is_said_to_forget_that() {
    run("who_asks_is_kept_until_it_is_said_to_forget", async |ns| {
        ns.apply(&plugin("orders").config("sessions", true)).await?;
        ns.await_plugin("orders", "to be ready", seconds(60), started).await?;
        ns.cluster.gateway()?.await_status(&ns.path("orders"), 200, seconds(10)).await?;
        let first =
            await_until("the middleware to say who asks", seconds(20), async || known(ns).await).await?;
        // Each replica asks for itself, once.
        ensure!(first.len() <= 2, "{first:?}");
        for time in ["once", "once more"] {
            let before = known(ns).await?;
            let annotations = json!({"metadata": {"annotations": {"goforward.dev/forget-callers": time}}});
            ns.patch_plugin("orders", annotations).await?;
            let forgotten = async || {
                let after = known(ns).await?;
                ensure!(after.is_disjoint(&before), "{after:?} after {before:?}");
                Ok(())
            };
            await_until("what was said to be forgotten", Duration::from_secs(20), forgotten).await?;
        }
        Ok(())
    })
    .await;
}
