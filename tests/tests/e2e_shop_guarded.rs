//! Payments for those who show a key: the log, the limit and the keys are declared, not written.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use forward_tests::{
    Answer, FIELD_MANAGER, IN_A_ROW, SYSTEM_NAMESPACE, TestNamespace, await_until, run, seconds,
    shop::{Counter, Shop, examples, in_example},
    started,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, LogParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// The keys that the example's page shows.
const TILL: &str = "f4d7ba449e2744ed5e06eb2351cd9e6e";
const BACK_OFFICE: &str = "256e43452cea04066c214ba7261fdf29";

const PROCESS: &str = "/api/payments/process";

async fn ask(counter: &Counter, key: &str, method: &str, path: &str, body: &Value) -> Result<Answer> {
    let headers = [("X-Api-Key", key)];
    let headers = if key.is_empty() { &headers[..0] } else { &headers[..] };
    counter.send(method, path, headers, (method == "POST").then_some(body)).await
}

/// The keys of the example, for the plugin of this namespace.
async fn give_keys(ns: &TestNamespace) -> Result<()> {
    let keys = fs::read_to_string(examples().join("payment-processor-guarded/keys.yaml"))?;
    let keys = keys.replace("[default/payment-processor]", &format!("[{}/payment-processor]", ns.name));
    let secret: Secret = serde_saphyr::from_str(&keys)?;
    Api::<Secret>::namespaced(ns.cluster.client.clone(), SYSTEM_NAMESPACE)
        .patch("payments", &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&secret))
        .await
        .map(drop)
        .context("make the keys")
}

async fn open_guarded<'a>(ns: &'a TestNamespace) -> Result<Shop<'a>> {
    let shop = Shop::prepare(ns).await?;
    give_keys(ns).await?;
    for example in ["postgres", "payment-processor-guarded"] {
        ns.apply_yaml(&in_example(example, "kubectl", &["kustomize", "."])?).await?;
    }
    ns.await_plugin("payment-processor", "to be ready", seconds(120), started).await?;
    let counter = shop.counter();
    await_until("the keys to be known to every replica", seconds(150), async || {
        // The kubelet takes long to bring them, so this is tried often.
        for _ in 0..2 * IN_A_ROW {
            let answer = ask(&counter, TILL, "GET", "/api/payments", &Value::Null).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        }
        Ok(())
    })
    .await?;
    Ok(shop)
}

/// Nobody without a key, and each with it only what that one may.
async fn keys(counter: &Counter) -> Result<()> {
    let payment = json!({"amount": 2000, "currency": "USD", "method": "card_ok", "customer_id": "ada"});
    let paid = ask(counter, TILL, "POST", PROCESS, &payment).await?;
    ensure!(paid.status == 201, "{} {}", paid.status, paid.text());
    let id = paid.json::<Value>()?["id"].as_str().context("an id")?.to_owned();
    let (one, refund) = (format!("/api/payments/{id}"), format!("/api/payments/{id}/refund"));
    for (key, method, path, body, expected) in [
        ("", "GET", "/api/payments", json!({}), 401),
        ("", "GET", &*one, json!({}), 401),
        ("", "POST", PROCESS, payment.clone(), 401),
        ("", "POST", &*refund, json!({}), 401),
        ("f4d7ba449e2744ed5e06eb2351cd9e6f", "GET", &*one, json!({}), 401),
        (TILL, "GET", &*one, json!({}), 200),
        (TILL, "POST", &*refund, json!({}), 403),
        (BACK_OFFICE, "POST", &*refund, json!({}), 201),
        // It is signed, and the plugin says whether that is so.
        ("", "POST", "/api/payments/webhook", json!({}), 401),
    ] {
        let answer = ask(counter, key, method, path, &body).await?;
        ensure!(answer.status == expected, "{key} {method} {path}: {} {}", answer.status, answer.text());
        let asks_for_a_key = answer.headers.contains_key("www-authenticate");
        ensure!(asks_for_a_key == (expected == 401 && !path.ends_with("webhook")), "{key} {method} {path}");
        if expected == 403 {
            ensure!(answer.json::<Value>()?["permission"] == "payments:refund", "{}", answer.text());
        }
    }
    Ok(())
}

/// Who asks too much is told when to come again, and takes nothing from anybody else.
async fn limit(counter: &Counter) -> Result<()> {
    let wrong = json!({"amount": -1});
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let answer = ask(counter, TILL, "POST", PROCESS, &wrong).await?;
        seen.insert(answer.status.as_u16());
        if answer.status == 429 {
            ensure!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
            break;
        }
    }
    ensure!(seen == [422, 429].into(), "{seen:?}");
    let other = ask(counter, BACK_OFFICE, "POST", PROCESS, &wrong).await?;
    ensure!(other.status == 422, "{} {}", other.status, other.text());
    Ok(())
}

/// Each request is a line in the log of the replica that it came to.
async fn journal(shop: &Shop<'_>, counter: &Counter) -> Result<()> {
    let missing: Vec<_> = (0..10).map(|number| format!("/api/payments/{}-{number}", shop.ns.name)).collect();
    for path in &missing {
        let answer = ask(counter, TILL, "GET", path, &Value::Null).await?;
        ensure!(answer.status == 404, "{} {}", answer.status, answer.text());
    }
    let system = shop.ns.cluster.system_pods();
    let gateways = ListParams::default().labels("app.kubernetes.io/component=gateway");
    await_until("each request to be in the log", seconds(10), async || {
        let mut log = String::new();
        for pod in system.list(&gateways).await? {
            let name = pod.metadata.name.context("a name")?;
            log +=
                &system.logs(&name, &LogParams { since_seconds: Some(60), ..LogParams::default() }).await?;
        }
        for path in &missing {
            let lines = log.lines().filter(|line| line.contains(&format!("\"{path}\""))).count();
            ensure!(lines == 1, "{lines} lines about {path}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn payments_are_written_down_counted_and_for_those_who_may() {
    run("payments_are_for_those_who_may", async |ns| {
        let shop = open_guarded(ns).await?;
        let counter = shop.counter();
        keys(&counter).await.context("keys")?;
        journal(&shop, &counter).await.context("log")?;
        limit(&counter).await.context("limit")
    })
    .await;
}
