//! A database of a test's own, and the plugin over it.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use example_testing::{Answer, Postgres, Process};
use forward_proto::plugin::v1::{
    HealthRequest, HealthResponse, health_response::Status, plugin_client::PluginClient,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_payment-processor");
const SECRET: &str = "whsec_test";

/// The server that the tests share.
static POSTGRES: OnceLock<Postgres> = OnceLock::new();

/// A database and what is configured besides it.
pub struct World {
    pub url: String,
    config: Value,
}

pub struct Plugin(Process);

impl World {
    /// A new database on the shared server.
    pub fn new(name: &str) -> Self {
        Self::over(POSTGRES.get_or_init(Postgres::start).database(name))
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

    /// The value of a line of `/metrics`.
    pub fn metric(&self, name: &str) -> Option<String> {
        let text = self.0.get("/metrics").body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    }

    /// What it tells the gateway of its health, and whether that is good.
    pub fn health(&self) -> (bool, HealthResponse) {
        let url = format!("http://{}", self.0.address);
        let health = block_on(async {
            let mut client = PluginClient::connect(url).await.unwrap();
            client.health(HealthRequest {}).await.unwrap().into_inner()
        });
        (health.status() == Status::Healthy, health)
    }

    /// Ends it at once, while others may be asking it.
    pub fn kill(&self) {
        let killed = std::process::Command::new("kill").args(["-9", &self.0.id().to_string()]).status();
        assert!(killed.unwrap().success());
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
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let digits = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("t={seconds},v1={digits}")
}

/// The status of an answer and the code that programs tell it by, `""` if it has none.
pub fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// The places that an answer says are wrong.
pub fn pointers(answer: &Answer) -> Value {
    let answer = answer.json();
    let errors = answer["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["pointer"].clone()).collect()
}

/// Asks many times at once; `ask` is given a number.
pub fn at_once<T: Send>(times: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let asked: Vec<_> = (0..times)
            .map(|number| {
                scope.spawn({
                    let ask = &ask;
                    move || ask(number)
                })
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Waits until something is so, for 30 seconds at most.
pub fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} did not come true");
        thread::sleep(Duration::from_millis(50));
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
