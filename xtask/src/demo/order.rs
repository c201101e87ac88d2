//! Buys something in the shop: a request that most of its plugins work on.

use std::{
    process,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::request;
use crate::exec::await_some;

/// How long an order that was taken may be in work.
const BOUND: Duration = Duration::from_secs(60);

/// Places an order through the gateway, shows it, and waits until it is completed.
pub fn place(port: u16) -> Result<()> {
    let stock = read(&request::get(port, "/api/inventory/items?limit=200")?)?;
    let sku = choose(&stock).context("find something in stock to buy")?;
    let body = json!({
        "customer_id": "ada",
        "payment_method": "card_ok",
        "items": [{"sku": sku, "quantity": 1}],
    });
    println!("\n$ curl http://127.0.0.1:{port}/api/orders --json '{body}'");
    let answer = request::post(port, "/api/orders", &key(), &body.to_string())?;
    if !matches!(answer.status, 201 | 202) {
        bail!("POST /api/orders: {}\n{}", answer.status, answer.body);
    }
    let order = await_end(port, read(&answer.body)?)?;
    println!("{}", serde_json::to_string_pretty(&order)?);
    if order["status"] != "completed" {
        bail!("the order was not completed");
    }
    Ok(())
}

/// The order as it is when all work on it is done.
fn await_end(port: u16, taken: Value) -> Result<Value> {
    let path = format!("/api/orders/{}", taken["id"].as_str().context("read the order's id")?);
    let mut order = taken;
    await_some("the order to be completed", BOUND, || {
        if order["status"] == "pending" {
            order = read(&request::get(port, &path)?)?;
        }
        Ok((order["status"] != "pending").then(|| order.clone()))
    })
}

/// The first item that is left.
fn choose(stock: &Value) -> Option<&str> {
    let left = |item: &&Value| item["available"].as_i64().is_some_and(|available| available > 0);
    stock["items"].as_array()?.iter().find(left)?["sku"].as_str()
}

fn read(json: &str) -> Result<Value> {
    serde_json::from_str(json).with_context(|| format!("read what the shop answers: {json}"))
}

/// Another one for each demo.
fn key() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("demo-{}-{}", now.as_nanos(), process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_what_is_left() {
        let stock = json!({"items": [{"sku": "a", "available": 0}, {"sku": "b", "available": 2}]});
        assert_eq!(choose(&stock), Some("b"));
        assert_eq!(choose(&json!({"items": []})), None);
    }
}
