//! The process ends at the worst moment.

use std::thread;

use example_testing::{await_that, told};
use serde_json::json;
use sqlx::Connection;

use crate::world::{Plugin, World, order};

const WAITING: &str = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()";

/// Kills the plugin when the processor has answered and nobody has recorded it yet: a trigger makes
/// the record wait for a lock that we have.
fn kill_before_recording(world: &World, table: &str, plugin: &Plugin, ask: impl FnOnce() -> bool + Send) {
    world.execute(&format!(
        "CREATE OR REPLACE FUNCTION payments.hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
        CREATE TRIGGER hold BEFORE UPDATE OF status ON payments.{table}
        FOR EACH ROW EXECUTE FUNCTION payments.hold()"
    ));
    let mut lock = hold_lock(world);
    thread::scope(|scope| {
        let asked = scope.spawn(ask);
        await_that("the record waits", || world.query::<i64>(WAITING) == 1);
        plugin.kill_under_load();
        assert!(!asked.join().unwrap(), "it answered after its end");
    });
    // The server would go on with the statement of the process that is no more.
    world.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    await_that("nobody waits", || world.query::<i64>(WAITING) == 0);
    lock.release();
    world.execute(&format!("DROP TRIGGER hold ON payments.{table}"));
}

/// A connection that holds the lock, with the runtime that it lives in.
struct Lock(tokio::runtime::Runtime, Option<sqlx::PgConnection>);

fn hold_lock(world: &World) -> Lock {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(async {
        let mut connection = world.connect().await;
        sqlx::query("SELECT pg_advisory_lock(42)").execute(&mut connection).await.unwrap();
        connection
    });
    Lock(runtime, Some(connection))
}

impl Lock {
    fn release(&mut self) {
        self.0.block_on(self.1.take().unwrap().close()).unwrap();
    }
}

#[test]
fn a_charge_that_was_not_recorded_is_neither_lost_nor_made_twice() {
    let world = World::new("crash_charge");
    let plugin = world.plugin();
    let mut asked = order(1999);
    asked["reference"] = json!("ord_1");
    let key = [("Idempotency-Key", "k")];
    kill_before_recording(&world, "payments", &plugin, || {
        plugin.try_post("/process", &key, &asked).is_some()
    });

    let plugin = world.plugin();
    let found = plugin.get("?reference=ord_1").json()["items"].clone();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["status"]), (1, &json!("pending")));
    let early = plugin.process("k", &asked);
    assert_eq!(told(&early), (409, "idempotency_key_in_use".to_owned()));
    assert_eq!(early.header("retry-after"), "1");
    let id = found[0]["id"].as_str().unwrap();
    await_that("the payment is settled", || plugin.payment(id)["status"] == "succeeded");

    let again = plugin.process("k", &asked);
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(again.json()["id"], id);
    assert_eq!(world.query::<i64>("SELECT count(*) FROM payments"), 1);
    assert_eq!(plugin.metric(r#"payments_recovered_total{kind="payment"}"#).as_deref(), Some("1"));
}

#[test]
fn a_refund_that_was_not_recorded_is_neither_lost_nor_given_twice() {
    let world = World::new("crash_refund");
    let plugin = world.plugin();
    let id = plugin.paid(1000);
    let key = [("Idempotency-Key", "k")];
    let part = json!({"amount": 600});
    let path = format!("/{id}/refund");
    kill_before_recording(&world, "refunds", &plugin, || plugin.try_post(&path, &key, &part).is_some());

    let plugin = world.plugin();
    assert_eq!(plugin.payment(&id)["refunded"], 600);
    assert_eq!(plugin.refund(&id, &[], &json!({"amount": 401})).status, 422);
    let pending = "SELECT count(*) FROM refunds WHERE status = 'pending'";
    assert_eq!(world.query::<i64>(pending), 1);
    await_that("the refund is settled", || world.query::<i64>(pending) == 0);
    let again = plugin.refund(&id, &key, &part);
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(plugin.payment(&id)["refunded"], 600);
}

#[test]
fn whoever_asks_again_does_not_wait_for_recovery() {
    let world = World::new("crash_claim");
    let plugin = world.plugin();
    world.execute(
        "INSERT INTO payments.payments
            (id, amount, currency, method, customer_id, idempotency_key, claimed_until)
        VALUES ('pay_0190b0c0d0e0f0000000000000000001', 1999, 'USD', 'card_ok', 'cus_1', 'k', now())",
    );
    let answer = plugin.process("k", &order(1999));
    // Recovery may be at it in this very moment.
    if answer.status == 409 {
        await_that("it is settled", || plugin.process("k", &order(1999)).status == 201);
    }
    assert_eq!(plugin.process("k", &order(1999)).json()["id"], "pay_0190b0c0d0e0f0000000000000000001");
}

#[test]
fn what_the_processor_has_forgotten_is_not_charged_again() {
    let world = World::new("crash_old");
    let plugin = world.plugin();
    world.execute(
        "INSERT INTO payments.payments
            (id, amount, currency, method, customer_id, idempotency_key, claimed_until, created_at)
        VALUES ('pay_0190b0c0d0e0f0000000000000000001', 1999, 'USD', 'card_ok', 'cus_1', 'old', now(),
            now() - interval '24 hours'),
            ('pay_0190b0c0d0e0f0000000000000000002', 1999, 'USD', 'card_ok', 'cus_1', 'new', now(),
            now() - interval '1 hour')",
    );
    await_that("the newer one is settled", || {
        plugin.payment("pay_0190b0c0d0e0f0000000000000000002")["status"] == "succeeded"
    });
    assert_eq!(plugin.payment("pay_0190b0c0d0e0f0000000000000000001")["status"], "pending");
    assert_eq!(plugin.process("old", &order(1999)).status, 409);
    let (healthy, health) = plugin.health();
    assert!(healthy && health.details["stuck"] == "1", "{health:?}");
}

#[test]
fn under_load_every_key_ends_as_one_payment() {
    const PAYMENTS: usize = 60;
    let world = World::new("crash_load");
    let plugin = world.plugin();
    let answered: usize = thread::scope(|scope| {
        let asked: Vec<_> = (0..PAYMENTS)
            .map(|number| {
                let plugin = &plugin;
                scope.spawn(move || {
                    let key = format!("k{number}");
                    plugin.try_post("/process", &[("Idempotency-Key", &key)], &order(1999)).is_some()
                })
            })
            .collect();
        await_that("some are taken", || world.query::<i64>("SELECT count(*) FROM payments") >= 5);
        plugin.kill_under_load();
        asked.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
    });
    let plugin = world.plugin();
    for number in 0..PAYMENTS {
        let key = format!("k{number}");
        await_that("it is taken", || plugin.process(&key, &order(1999)).status == 201);
    }
    let settled = "SELECT count(*) FROM payments WHERE status = 'succeeded'";
    assert_eq!(
        world.query::<i64>(settled),
        i64::try_from(PAYMENTS).unwrap(),
        "{answered} were answered at once"
    );
    assert_eq!(
        world.query::<i64>("SELECT count(DISTINCT provider_id) FROM payments"),
        i64::try_from(PAYMENTS).unwrap()
    );
}
