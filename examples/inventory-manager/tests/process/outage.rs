//! The database goes away and comes back.

use example_testing::{Postgres, await_that, told};

use crate::world::World;

#[test]
fn without_its_database_it_says_so_and_goes_on_when_it_is_back() {
    let postgres = Postgres::start();
    let plugin = World::over(postgres.database("outage")).plugin();
    plugin.stock("mug", 2);
    plugin.reserve("r", &[("mug", 1)]);
    assert!(plugin.health().0);

    postgres.stop();
    for answer in [plugin.get("/items"), plugin.reserve("s", &[("mug", 1)]), plugin.commit("r")] {
        assert_eq!(told(&answer), (503, "database_unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    let (healthy, health) = plugin.health();
    assert_eq!((healthy, health.message.as_str()), (false, "the database does not answer"));

    postgres.start_again();
    await_that("its health", || plugin.health().0);
    assert_eq!(plugin.counts("mug"), [2, 1, 1]);
    assert_eq!(plugin.commit("r").status, 200);
}
