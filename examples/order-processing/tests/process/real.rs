//! With the real payment processor and the real inventory manager, which are killed in the middle.

use std::{net::TcpListener, path::PathBuf, process::Command, thread, time::Duration};

use example_testing::{Postgres, Process, await_some};
use serde_json::{Value, json};

use crate::shop::{place, two_pens};

/// All three on one database.
struct RealShop {
    database_url: String,
    programs: PathBuf,
    /// Where payments and inventory answer: the same place when they come back.
    ports: [u16; 2],
}

impl RealShop {
    fn new(postgres: &Postgres, name: &str) -> Self {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "payment-processor", "--package", "inventory-manager"])
            .status()
            .unwrap();
        assert!(built.success(), "the other plugins cannot be built");
        let programs = PathBuf::from(env!("CARGO_BIN_EXE_order-processing")).parent().unwrap().to_owned();
        let ports = [0; 2].map(|any| TcpListener::bind(("127.0.0.1", any)).unwrap());
        let ports = ports.map(|listener| listener.local_addr().unwrap().port());
        Self { database_url: postgres.database(name), programs, ports }
    }

    fn payments(&self) -> Process {
        let config = json!({
            "api_key": "sk_test_1",
            "environment": "sandbox",
            "webhook_secret": "whsec_1",
            "database_url": self.database_url,
        });
        self.run("payment-processor", &config, self.ports[0])
    }

    fn inventory(&self, pens: i64) -> Process {
        let pen = json!({"sku": "pen", "name": "Pen", "price": 350, "on_hand": pens});
        self.run(
            "inventory-manager",
            &json!({"database_url": self.database_url, "items": [pen]}),
            self.ports[1],
        )
    }

    fn orders(&self) -> Process {
        let config = json!({
            "database_url": self.database_url,
            "request_timeout": "2s",
            "call_timeout": "1s",
            "lease": "3s",
        });
        let [payments, inventory] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let dependencies = [
            ("GOFORWARD_DEPENDENCY_PAYMENT_PROCESSOR", payments.as_str()),
            ("GOFORWARD_DEPENDENCY_INVENTORY_MANAGER", inventory.as_str()),
        ];
        Process::start(env!("CARGO_BIN_EXE_order-processing"), "order-processing", &config, &dependencies)
    }

    fn run(&self, name: &str, config: &Value, port: u16) -> Process {
        let program = self.programs.join(name);
        Process::start(program.to_str().unwrap(), name, config, &[("GOFORWARD_PORT", &port.to_string())])
    }
}

/// What is left of the payments of an order.
fn paid(payments: &Process, order: &Value) -> i64 {
    let found = payments.get(&format!("/api/payments?reference={}", order["id"].as_str().unwrap())).json();
    let paid = found["items"].as_array().unwrap().iter().filter(|payment| payment["status"] == "succeeded");
    paid.map(|payment| payment["amount"].as_i64().unwrap() - payment["refunded"].as_i64().unwrap()).sum()
}

#[test]
fn an_order_goes_through_the_real_plugins() {
    let shop = RealShop::new(Postgres::shared(), "real_flow");
    let (payments, inventory, orders) = (shop.payments(), shop.inventory(3), shop.orders());
    let completed = place(&orders, &two_pens("card_ok"));
    assert_eq!(completed.status, 201, "{completed:?}");
    assert_eq!(paid(&payments, &completed.json()), 700);
    let pen = || inventory.get("/api/inventory/items/pen").json();
    assert_eq!((&pen()["on_hand"], &pen()["reserved"]), (&json!(1), &json!(0)));

    let short = place(&orders, &two_pens("card_ok"));
    assert_eq!((short.status, &short.json()["code"]), (409, &json!("insufficient_stock")), "{short:?}");
    assert_eq!(short.json()["errors"][0]["pointer"], "#/items/0/quantity");
    let one = two_pens("card_declined").replace('2', "1");
    let declined = place(&orders, &one);
    assert_eq!(
        (declined.status, &declined.json()["code"]),
        (402, &json!("payment_declined")),
        "{declined:?}"
    );
    let unpayable = place(&orders, &one.replace("card_declined", "shells"));
    assert_eq!(unpayable.json()["errors"][0]["pointer"], "#/payment_method", "{unpayable:?}");
    let unknown = place(&orders, &one.replace("pen", "unicorn"));
    assert_eq!(unknown.json()["errors"][0]["pointer"], "#/items/0/sku", "{unknown:?}");
    assert_eq!((&pen()["on_hand"], &pen()["reserved"]), (&json!(1), &json!(0)));
}

#[test]
fn money_and_stock_are_right_though_every_plugin_is_killed() {
    let shop = RealShop::new(Postgres::shared(), "real_kills");
    let pods = [shop.orders(), shop.orders()];
    // Of 40 orders of 2 pens, 30 can be had.
    let (payments, inventory) = thread::scope(|scope| {
        let (mut payments, mut inventory) = (shop.payments(), shop.inventory(60));
        for pod in &pods {
            for _ in 0..4 {
                scope.spawn(move || {
                    for _ in 0..5 {
                        let answer = place(pod, &two_pens("card_ok"));
                        assert!([201, 202, 409].contains(&answer.status), "{answer:?}");
                    }
                });
            }
        }
        for _ in 0..3 {
            // How far the orders have come when it happens is left to chance.
            thread::sleep(Duration::from_millis(150));
            payments.kill();
            payments = shop.payments();
            thread::sleep(Duration::from_millis(150));
            inventory.kill();
            inventory = shop.inventory(60);
        }
        (payments, inventory)
    });
    let [first, second] = pods;
    first.kill();
    let listed = await_some("the end of all orders", || {
        let pending = second.get("/api/orders?status=pending").json();
        let listed = second.get("/api/orders?limit=200").json()["items"].as_array().unwrap().clone();
        pending["items"].as_array().unwrap().is_empty().then_some(listed)
    });
    assert_eq!(listed.len(), 40);
    for order in &listed {
        let wanted = if order["status"] == "completed" { 700 } else { 0 };
        assert_eq!(paid(&payments, order), wanted, "{order}");
    }
    let completed = listed.iter().filter(|order| order["status"] == "completed").count();
    let pen = inventory.get("/api/inventory/items/pen").json();
    assert_eq!((&pen["on_hand"], &pen["reserved"]), (&json!(60 - 2 * completed as i64), &json!(0)), "{pen}");
}
