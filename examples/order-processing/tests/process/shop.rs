//! The plugin with all that it needs, and what is asked of an order in the end.

use example_testing::{Answer, Postgres, Process, await_some};
use serde_json::{Value, json};

use crate::stand_in::StandIn;

/// A database of the test's own, and the stand-ins.
pub struct Shop {
    pub others: StandIn,
    pub database_url: String,
    pub call_timeout: &'static str,
    pub lease: &'static str,
}

impl Shop {
    pub fn new(name: &str) -> Self {
        Self::on(Postgres::shared(), name)
    }

    /// The same on a PostgreSQL of the test's own.
    pub fn on(postgres: &Postgres, name: &str) -> Self {
        Self {
            others: StandIn::start(),
            database_url: postgres.database(name),
            call_timeout: "700ms",
            lease: "2s",
        }
    }

    pub fn config(&self) -> Value {
        json!({
            "database_url": self.database_url,
            "request_timeout": "2s",
            "call_timeout": self.call_timeout,
            "lease": self.lease,
        })
    }

    /// Runs the plugin; more than once for more than one pod.
    pub fn open(&self) -> Process {
        let url = self.others.url.as_str();
        let dependencies = [
            ("GOFORWARD_DEPENDENCY_PAYMENT_PROCESSOR", url),
            ("GOFORWARD_DEPENDENCY_INVENTORY_MANAGER", url),
            ("GOFORWARD_DEPENDENCY_ANALYTICS_TRACKER", url),
        ];
        Process::start(
            env!("CARGO_BIN_EXE_order-processing"),
            "order-processing",
            &self.config(),
            &dependencies,
        )
    }

    /// Whether money and stock are what the order says. 2 pens were ordered, for 7.00.
    pub fn assert_right(&self, order: &Value) {
        let id = order["id"].as_str().unwrap();
        self.others.ledger(|ledger| {
            let payments: Vec<_> = ledger.payments.values().filter(|one| one["reference"] == id).collect();
            assert!(payments.len() <= 1, "charged more than once: {payments:?}");
            let paid = payments.iter().filter(|payment| payment["status"] == "succeeded");
            let paid: i64 = paid
                .map(|payment| {
                    let refunded = ledger.refunds.get(payment["id"].as_str().unwrap()).unwrap_or(&0);
                    payment["amount"].as_i64().unwrap() - refunded
                })
                .sum();
            let reservation = ledger.reservations.get(id).map(|(status, _)| *status);
            let right = match order["status"].as_str().unwrap() {
                "completed" => (paid, reservation) == (700, Some("committed")),
                "rejected" => paid == 0 && reservation.is_none_or(|status| status == "released"),
                _ => false,
            };
            assert!(right, "{paid} paid, reservation {reservation:?}: {order}");
        });
    }
}

/// The body of an order of 2 pens.
pub fn two_pens(method: &str) -> String {
    let items = json!([{"sku": "pen", "quantity": 2}]);
    json!({"customer_id": "ada", "payment_method": method, "items": items}).to_string()
}

pub fn place(process: &Process, body: &str) -> Answer {
    process.request("POST", "/api/orders", &[], body)
}

/// Waits until the order is as it should be.
pub fn await_order(process: &Process, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/orders/{id}");
    await_some(&path, || Some(process.get(&path).json()).filter(&wanted))
}

/// Waits until the only order there is has ended.
pub fn await_end(process: &Process) -> Value {
    await_some("the end of the order", || {
        let orders = process.get("/api/orders").json();
        let order = orders["items"][0].clone();
        (!order.is_null() && order["status"] != "pending").then_some(order)
    })
}
