//! Each of the shop's plugins by itself, as clients meet it: through the gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use example_testing::stripe_signature;
use forward_crds::{HealthStatus, Plugin};
use forward_tests::{
    Answer, Body, run, seconds,
    shop::{Counter, PLUGINS, Shop},
};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// What the examples' Secret says.
const WEBHOOK_SECRET: &str = "whsec_forward";

async fn post(counter: &Counter, path: &str, headers: &[(&str, &str)], body: Value) -> Result<(u16, Value)> {
    told(counter.send("POST", path, headers, Some(&body)).await?)
}

fn told(answer: Answer) -> Result<(u16, Value)> {
    let body = answer.json().with_context(|| answer.status.to_string())?;
    Ok((answer.status.as_u16(), body))
}

/// The places that an answer says are wrong.
fn places(body: &Value) -> Vec<&str> {
    let errors = body["errors"].as_array().into_iter().flatten();
    errors.filter_map(|error| error["pointer"].as_str()).collect()
}

async fn payments(counter: &Counter) -> Result<()> {
    let payment = json!({"amount": 2000, "currency": "USD", "method": "card_ok", "customer_id": "ada"});
    let process = "/api/payments/process";
    let key = [("Idempotency-Key", "p-1")];
    let (status, paid) = post(counter, process, &key, payment.clone()).await?;
    ensure!(status == 201 && paid["status"] == "succeeded", "{status} {paid}");
    let again = counter.send("POST", process, &key, Some(&payment)).await?;
    ensure!(again.headers.contains_key("idempotency-replayed"), "{:?}", again.headers);
    ensure!(again.json::<Value>()?["id"] == paid["id"], "charged twice: {}", again.text());

    let wrong = json!({"amount": -5, "currency": "XXX", "method": "card_ok", "customer_id": "ada"});
    let (status, problem) = post(counter, process, &[], wrong).await?;
    ensure!(status == 422 && places(&problem) == ["#/amount", "#/currency"], "{status} {problem}");

    let refund = format!("/api/payments/{}/refund", paid["id"].as_str().context("an id")?);
    ensure!(post(counter, &refund, &[], json!({"amount": 500})).await?.0 == 201);
    let (status, problem) = post(counter, &refund, &[], json!({"amount": 1501})).await?;
    ensure!(status == 422 && places(&problem) == ["#/amount"], "{status} {problem}");
    ensure!(post(counter, &refund, &[], json!({})).await?.0 == 201);
    let (status, problem) = post(counter, &refund, &[], json!({})).await?;
    ensure!(status == 409 && problem["code"] == "nothing_to_refund", "{status} {problem}");
    webhook(counter).await
}

/// The gateway carries the body as it is: else no signature would fit.
async fn webhook(counter: &Counter) -> Result<()> {
    let event =
        json!({"id": "evt_1", "type": "customer.created", "data": {"object": {"name": "Ada  \u{e9}"}}});
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let signed = stripe_signature(WEBHOOK_SECRET, time.try_into()?, &event.to_string());
    let (path, header) = ("/api/payments/webhook", "Stripe-Signature");
    let (status, body) = post(counter, path, &[(header, &signed)], event.clone()).await?;
    ensure!(status == 200 && body["received"] == true, "{status} {body}");
    let (status, body) = post(counter, path, &[(header, &signed)], event.clone()).await?;
    ensure!(status == 409 && body["code"] == "webhook_replayed", "{status} {body}");
    let forged = signed.replace("v1=", "v1=00");
    ensure!(post(counter, path, &[(header, &forged)], event).await?.0 == 401);
    Ok(())
}

async fn inventory(counter: &Counter) -> Result<()> {
    let item = json!({"name": "A test's mug", "price": 100, "currency": "USD", "on_hand": 5});
    let put = counter.send("PUT", "/api/inventory/items/test-mug", &[], Some(&item)).await?;
    ensure!(put.status == 201, "{} {}", put.status, put.text());
    let reserve =
        |id: &str, quantity: u32| json!({"id": id, "items": [{"sku": "test-mug", "quantity": quantity}]});
    let reservations = "/api/inventory/reservations";
    ensure!(post(counter, reservations, &[], reserve("r-1", 3)).await?.0 == 201);
    let (status, problem) = post(counter, reservations, &[], reserve("r-2", 3)).await?;
    ensure!(status == 409 && problem["code"] == "insufficient_stock", "{status} {problem}");
    ensure!(places(&problem) == ["#/items/0/quantity"], "{problem}");
    ensure!(post(counter, &format!("{reservations}/r-1/commit"), &[], json!({})).await?.0 == 200);
    let (_, left) = told(counter.send("GET", "/api/inventory/items/test-mug", &[], None).await?)?;
    ensure!((&left["on_hand"], &left["reserved"]) == (&json!(2), &json!(0)), "{left}");
    ensure!(post(counter, &format!("{reservations}/r-3/release"), &[], json!({})).await?.0 == 200);
    let (status, problem) = post(counter, reservations, &[], reserve("r-3", 1)).await?;
    ensure!(status == 409 && problem["code"] == "reservation_released", "{status} {problem}");
    Ok(())
}

async fn orders(counter: &Counter) -> Result<()> {
    let wish =
        |method: &str, items: Value| json!({"customer_id": "ada", "payment_method": method, "items": items});
    let mug = json!([{"sku": "test-mug", "quantity": 1}]);
    let (status, order) =
        post(counter, "/api/orders", &[("Idempotency-Key", "o-1")], wish("card_ok", mug.clone())).await?;
    ensure!(status == 201 && order["total"] == 100, "{status} {order}");
    let (status, again) =
        post(counter, "/api/orders", &[("Idempotency-Key", "o-1")], wish("card_ok", mug.clone())).await?;
    ensure!(status == 201 && again["id"] == order["id"], "ordered twice: {status} {again}");
    let (status, problem) = post(counter, "/api/orders", &[], wish("card_declined", mug)).await?;
    ensure!(status == 402 && problem["code"] == "payment_declined", "{status} {problem}");
    let much = json!([{"sku": "test-mug", "quantity": 900}]);
    let (status, problem) = post(counter, "/api/orders", &[], wish("card_ok", much)).await?;
    ensure!(status == 409 && problem["code"] == "insufficient_stock", "{status} {problem}");
    let (status, problem) = post(counter, "/api/orders", &[], wish("card_ok", json!([]))).await?;
    ensure!(status == 422 && places(&problem) == ["#/items"], "{status} {problem}");
    Ok(())
}

async fn analytics(shop: &Shop<'_>, counter: &Counter) -> Result<()> {
    let mut first = Stream::open(shop, None).await?;
    first.await_text("welcome").await?;
    let track =
        |number: u32| json!({"id": format!("e-{number}"), "type": "tested", "properties": {"n": number}});
    let (status, body) = post(counter, "/api/analytics/track", &[], track(1)).await?;
    ensure!(status == 202 && body["accepted"] == 1, "{status} {body}");
    let id = first.await_event("\"n\":1").await?;
    // Missed while nobody listened, and there when one comes back.
    drop(first);
    let (_, body) =
        post(counter, "/api/analytics/track", &[], json!({"events": [track(1), track(2)]})).await?;
    ensure!((&body["accepted"], &body["duplicates"]) == (&json!(1), &json!(1)), "{body}");
    Stream::open(shop, Some(&id)).await?.await_event("\"n\":2").await?;

    let query = json!({"event_type": "tested", "aggregates": [{"function": "sum", "field": "properties.n"}]});
    let (status, body) = post(counter, "/api/analytics/query", &[], query).await?;
    let sum = body["groups"][0]["values"].as_object().and_then(|values| values.values().next()?.as_f64());
    ensure!(status == 200 && sum == Some(3.0), "{status} {body}");
    let wrong = json!({"events": [track(3), {"type": 7}]});
    let (status, problem) = post(counter, "/api/analytics/track", &[], wrong).await?;
    ensure!(status == 422 && places(&problem) == ["#/events/1/type"], "{status} {problem}");
    Ok(())
}

/// Server-sent events through the gateway.
struct Stream {
    body: hyper::body::Incoming,
    text: String,
}

impl Stream {
    async fn open(shop: &Shop<'_>, last_event_id: Option<&str>) -> Result<Self> {
        let request = Request::get("/api/analytics/realtime?type=tested").header("Host", &shop.host);
        let request = last_event_id.into_iter().fold(request, |it, id| it.header("Last-Event-ID", id));
        let response = shop.ns.cluster.gateway()?.stream(request.body(Body::default())?).await?;
        ensure!(response.status() == 200, "{}", response.status());
        Ok(Self { body: response.into_body(), text: String::new() })
    }

    async fn await_text(&mut self, text: &str) -> Result<()> {
        let read = async {
            while !self.text.contains(text) {
                let frame = self.body.frame().await.context("the stream has ended")??;
                self.text += &String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data));
            }
            anyhow::Ok(())
        };
        timeout(seconds(20), read).await.with_context(|| format!("waited for an event with {text}"))?
    }

    /// The id of the event that has a text in it.
    async fn await_event(&mut self, text: &str) -> Result<String> {
        self.await_text(text).await?;
        let event = self.text.split("\n\n").find(|event| event.contains(text)).context("an event")?;
        let id = event.lines().find_map(|line| line.strip_prefix("id:")).context("an id")?;
        Ok(id.trim().to_owned())
    }
}

/// Health reaches the status, with details; metrics do not reach the outside.
async fn health_and_metrics(shop: &Shop<'_>) -> Result<()> {
    for name in PLUGINS {
        let detailed = |plugin: &Plugin| {
            let health = plugin.status.as_ref().and_then(|status| status.health.as_ref());
            // The web server tells nothing.
            health.is_some_and(|it| {
                it.status == HealthStatus::Healthy && (name == "static-site" || !it.details.is_empty())
            })
        };
        shop.ns.await_plugin(name, "to tell of its health", seconds(30), detailed).await?;
    }
    let metrics = shop.get("/metrics").await?;
    ensure!(metrics.status == 404, "{} {}", metrics.status, metrics.text());
    Ok(())
}

#[tokio::test]
async fn every_plugin_answers_as_its_page_says() {
    run("every_plugin_answers_as_its_page_says", async |ns| {
        let shop = Shop::open(ns).await?;
        let counter = shop.counter();
        payments(&counter).await.context("payment-processor")?;
        inventory(&counter).await.context("inventory-manager")?;
        orders(&counter).await.context("order-processing")?;
        analytics(&shop, &counter).await.context("analytics-tracker")?;
        let site = shop.get("/assets/main.js").await?;
        ensure!(site.status == 200 && !site.body.is_empty(), "static-site: {}", site.status);
        health_and_metrics(&shop).await
    })
    .await;
}

#[tokio::test]
async fn refunds_can_be_turned_off() {
    run("refunds_can_be_turned_off", async |ns| {
        let shop = Shop::open(ns).await?;
        let counter = shop.counter();
        let payment = json!({"amount": 2000, "currency": "USD", "method": "card_ok", "customer_id": "ada"});
        let (_, paid) = post(&counter, "/api/payments/process", &[], payment).await?;
        let refund = format!("/api/payments/{}/refund", paid["id"].as_str().context("an id")?);
        shop.patch("payment-processor", json!({"config": {"enable_refunds": false}})).await?;
        forward_tests::await_until("refunds to be off", seconds(60), async || {
            let (status, problem) = post(&counter, &refund, &[], json!({"amount": 1})).await?;
            ensure!(status == 403 && problem["code"] == "refunds_disabled", "{status} {problem}");
            Ok(())
        })
        .await
    })
    .await;
}
