//! The database goes away and comes back.

use example_testing::{Postgres, await_that, told};

use crate::world::{World, order};

#[test]
fn without_its_database_it_says_so_and_goes_on_when_it_is_back() {
    let postgres = Postgres::start();
    let plugin = World::over(postgres.database("outage")).plugin();
    let id = plugin.paid(1000);
    assert!(plugin.health().0);

    postgres.stop();
    let event = serde_json::json!({"id": "evt_1", "type": "x", "data": {"object": {}}});
    for answer in [
        plugin.get(""),
        plugin.get(&format!("/{id}")),
        plugin.process("k", &order(1999)),
        plugin.refund(&id, &[], &serde_json::json!({})),
        plugin.deliver(&event),
    ] {
        assert_eq!(told(&answer), (503, "database_unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    let (healthy, health) = plugin.health();
    assert_eq!((healthy, health.message.as_str()), (false, "the database does not answer"));

    postgres.start_again();
    await_that("its health", || plugin.health().0);
    assert_eq!(plugin.process("k", &order(1999)).status, 201);
    assert_eq!(plugin.deliver(&event).status, 200);
    assert_eq!(plugin.payment(&id)["status"], "succeeded");
}
