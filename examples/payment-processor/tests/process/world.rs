//! A database of a test's own, and the plugin over it.

use std::ops::Deref;

use example_testing::{Answer, Postgres, Process, block_on, stripe_signature};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_payment-processor");
const SECRET: &str = "whsec_test";

/// A database and what is configured besides it.
pub struct World {
    pub url: String,
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
    /// A new database on the shared server.
    pub fn new(name: &str) -> Self {
        Self::over(Postgres::shared().database(name))
    }

    /// A database that is there.
    pub fn over(url: String) -> Self {
        let config = json!({
            "api_key": "sk_test_1", "environment": "sandbox", "webhook_secret": SECRET, "database_url": url,
        });
        Self { url, config }
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// The plugin, once more if there is one already.
    pub fn plugin(&self) -> Plugin {
        Plugin(Process::start(PROGRAM, "payment-processor", &self.config, &[]))
    }

    /// What the plugin says as it fails to start.
    pub fn failure(&self) -> String {
        Process::failure(PROGRAM, "payment-processor", &self.config, &[])
    }

    /// Runs statements on the database behind the plugin's back.
    pub fn execute(&self, statements: &str) {
        self.try_execute(statements).unwrap();
    }

    /// The same where they may be refused.
    pub fn try_execute(&self, statements: &str) -> Result<(), sqlx::Error> {
        block_on(async {
            let mut connection = self.connect().await;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
            connection.close().await
        })
    }

    /// The one value that a query gives.
    pub fn query<T>(&self, query: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        block_on(async {
            let mut connection = self.connect().await;
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap()
        })
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&format!("{}?options=-csearch_path=payments", self.url)).await.unwrap()
    }
}

impl Plugin {
    pub fn get(&self, path: &str) -> Answer {
        self.0.get(&format!("/api/payments{path}"))
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.0.request("POST", &format!("/api/payments{path}"), headers, &body.to_string())
    }

    /// `None` where the plugin ended before it answered.
    pub fn try_post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<Answer> {
        self.0.try_request("POST", &format!("/api/payments{path}"), headers, &body.to_string())
    }

    pub fn process(&self, key: &str, body: &Value) -> Answer {
        self.post("/process", &[("Idempotency-Key", key)], body)
    }

    /// Takes a payment; its id.
    pub fn paid(&self, amount: i64) -> String {
        let answer = self.post("/process", &[], &order(amount));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn refund(&self, id: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post(&format!("/{id}/refund"), headers, body)
    }

    pub fn payment(&self, id: &str) -> Value {
        let answer = self.get(&format!("/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Delivers an event, signed now.
    pub fn deliver(&self, event: &Value) -> Answer {
        let body = event.to_string();
        self.deliver_signed(&body, &sign(&body, now()))
    }

    pub fn deliver_signed(&self, body: &str, signature: &str) -> Answer {
        self.0.request("POST", "/api/payments/webhook", &[("Stripe-Signature", signature)], body)
    }
}

/// A payment that succeeds.
pub fn order(amount: i64) -> Value {
    json!({"amount": amount, "currency": "USD", "method": "card_ok", "customer_id": "cus_1"})
}

pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What the processor would send in `Stripe-Signature`.
pub fn sign(body: &str, seconds: i64) -> String {
    stripe_signature(SECRET, seconds, body)
}
