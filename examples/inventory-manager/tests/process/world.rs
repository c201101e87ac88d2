//! A database of a test's own, and the plugin over it.

use std::ops::Deref;

use example_testing::{Answer, Postgres, Process, block_on};
use serde_json::{Value, json};
use sqlx::Connection;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inventory-manager");

/// A database and what is configured besides it.
pub struct World {
    url: String,
    config: Value,
}

/// The plugin's process, asked in its own words.
pub struct Plugin(Process);

impl Deref for Plugin {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl World {
    /// A new database on the shared server. No sweep comes while the test runs, but one at the start.
    pub fn new(name: &str) -> Self {
        let url = Postgres::shared().database(name);
        Self::over(url).with("expiry_interval", json!("1h"))
    }

    /// A database that is there.
    pub fn over(url: String) -> Self {
        Self { config: json!({"database_url": url}), url }
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// The plugin, once more if there is one already.
    pub fn plugin(&self) -> Plugin {
        Plugin(Process::start(PROGRAM, "inventory-manager", &self.config, &[]))
    }

    /// What the plugin says as it fails to start.
    pub fn failure(&self) -> String {
        Process::failure(PROGRAM, "inventory-manager", &self.config, &[])
    }

    /// Makes the time of a reservation be over. Tests that waited for it would take as long.
    pub fn let_expire(&self, id: &str) {
        self.set_back("id = $1", id);
    }

    /// The same for all that there are.
    pub fn let_all_expire(&self) {
        self.set_back("$1 = ''", "");
    }

    fn set_back(&self, which: &str, parameter: &str) {
        let update = format!(
            "UPDATE inventory.reservations SET expires_at = now() - interval '1 second' WHERE {which}"
        );
        block_on(async {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            let update = sqlx::query(sqlx::AssertSqlSafe(update)).bind(parameter);
            update.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

impl Plugin {
    pub fn get(&self, path: &str) -> Answer {
        self.0.get(&format!("/api/inventory{path}"))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.0.request("PUT", &format!("/api/inventory{path}"), &[], &body.to_string())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.0.request("POST", &format!("/api/inventory{path}"), &[], &body.to_string())
    }

    /// Puts an item of this SKU, whatever its name and price.
    pub fn put_item(&self, sku: &str, on_hand: i64) -> Answer {
        let body = json!({"name": sku, "price": 100, "currency": "USD", "on_hand": on_hand});
        self.put(&format!("/items/{sku}"), &body)
    }

    /// The same where it must succeed.
    pub fn stock(&self, sku: &str, on_hand: i64) {
        let answer = self.put_item(sku, on_hand);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }

    /// How many of an item are there, reserved and available.
    pub fn counts(&self, sku: &str) -> [i64; 3] {
        let item = self.get(&format!("/items/{sku}")).json();
        ["on_hand", "reserved", "available"].map(|count| item[count].as_i64().unwrap())
    }

    pub fn reserve(&self, id: &str, lines: &[(&str, i64)]) -> Answer {
        self.post("/reservations", &wish(id, lines))
    }

    pub fn commit(&self, id: &str) -> Answer {
        self.post(&format!("/reservations/{id}/commit"), &json!({}))
    }

    pub fn release(&self, id: &str) -> Answer {
        self.post(&format!("/reservations/{id}/release"), &json!({}))
    }

    /// What it has logged that is not as it should be.
    pub fn warnings(&self) -> String {
        let unusual = |line: &Value| line["level"] != "INFO";
        self.0.log().into_iter().filter(unusual).map(|line| format!("{line}\n")).collect()
    }

    pub fn kill(self) {
        self.0.kill();
    }
}

pub fn wish(id: &str, lines: &[(&str, i64)]) -> Value {
    json!({"id": id, "items": items(lines)})
}

pub fn items(lines: &[(&str, i64)]) -> Value {
    lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect()
}
