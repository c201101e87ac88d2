//! Many at once, through two processes over one database, as during a rollout.

use example_testing::{at_once, told};

use crate::world::{Plugin, World};

/// Reserves the way that a client should: an answer that says "try again" is no answer.
fn reserve(plugin: &Plugin, id: &str, lines: &[(&str, i64)]) -> (u16, String) {
    let mut tries = (0..50).map(|_| told(&plugin.reserve(id, lines)));
    tries.find(|told| told.0 != 503).unwrap()
}

fn count(told: &[(u16, String)], status: u16, code: &str) -> usize {
    told.iter().filter(|told| **told == (status, code.to_owned())).count()
}

#[test]
fn the_last_hundred_are_reserved_a_hundred_times_among_a_thousand() {
    let world = World::new("last_hundred");
    let plugins = [world.plugin(), world.plugin()];
    plugins[0].stock("mug", 100);
    let told = at_once(1000, |index| reserve(&plugins[index % 2], &format!("r-{index}"), &[("mug", 1)]));
    // A 503 whose reservation was made all the same is found again by its id, with 200.
    let won = count(&told, 201, "") + count(&told, 200, "");
    assert_eq!((won, count(&told, 409, "insufficient_stock")), (100, 900));
    assert_eq!(plugins[0].counts("mug"), [100, 100, 0]);

    let winners: Vec<_> = (0..1000).filter(|index| told[*index].0 < 300).collect();
    let ended = at_once(100, |index| {
        let id = format!("r-{}", winners[index]);
        let plugin = &plugins[index % 2];
        if index < 60 { plugin.commit(&id).status } else { plugin.release(&id).status }
    });
    assert!(ended.iter().all(|status| *status == 200), "{ended:?}");
    assert_eq!(plugins[1].counts("mug"), [40, 0, 40]);
}

#[test]
fn wishes_in_opposite_orders_are_all_or_nothing_and_do_not_wait_for_each_other() {
    let world = World::new("opposite");
    let plugins = [world.plugin(), world.plugin()];
    let skus = ["a", "b", "c"];
    for sku in skus {
        plugins[0].stock(sku, 30);
    }
    let forwards = [("a", 1), ("b", 1), ("c", 1)];
    let backwards = [("c", 1), ("b", 1), ("a", 1)];
    let told = at_once(120, |index| {
        let lines = if index % 4 < 2 { forwards } else { backwards };
        reserve(&plugins[index % 2], &format!("r-{index}"), &lines)
    });
    assert_eq!((count(&told, 201, ""), count(&told, 409, "insufficient_stock")), (30, 90), "{told:?}");
    for sku in skus {
        assert_eq!(plugins[1].counts(sku), [30, 30, 0]);
    }
    let log: String = plugins.iter().map(Plugin::warnings).collect();
    assert!(!log.contains("deadlock"), "{log}");
}

#[test]
fn the_same_wish_at_once_is_one_reservation() {
    let world = World::new("same_at_once");
    let plugins = [world.plugin(), world.plugin()];
    plugins[0].stock("mug", 40);
    let told = at_once(40, |index| reserve(&plugins[index % 2], "r", &[("mug", 1)]));
    assert_eq!((count(&told, 201, ""), count(&told, 200, "")), (1, 39), "{told:?}");
    assert_eq!(plugins[0].counts("mug"), [40, 1, 39]);
}

#[test]
fn a_commit_and_a_release_at_once_end_a_reservation_one_way() {
    let world = World::new("one_way");
    let plugins = [world.plugin(), world.plugin()];
    plugins[0].stock("mug", 20);
    let mut left = 20;
    for round in 0..20 {
        let id = format!("r-{round}");
        plugins[0].reserve(&id, &[("mug", 1)]);
        let statuses = at_once(2, |index| {
            if index == 0 { plugins[0].commit(&id).status } else { plugins[1].release(&id).status }
        });
        left -= i64::from(statuses[0] == 200);
        assert!(statuses == [200, 409] || statuses == [409, 200], "{statuses:?}");
        assert_eq!(plugins[0].counts("mug"), [left, 0, left]);
    }
}

#[test]
fn an_over_time_reservation_gives_way_to_all_who_want_its_items_at_once() {
    let world = World::new("give_way");
    let plugins = [world.plugin(), world.plugin()];
    plugins[0].stock("a", 20);
    plugins[0].stock("b", 20);
    for index in 0..20 {
        plugins[0].reserve(&format!("late-{index}"), &[("a", 1), ("b", 1)]);
    }
    world.let_all_expire();
    let told = at_once(40, |index| {
        let lines = if index < 20 { [("a", 1), ("b", 1)] } else { [("b", 1), ("a", 1)] };
        reserve(&plugins[index % 2], &format!("r-{index}"), &lines)
    });
    assert_eq!((count(&told, 201, ""), count(&told, 409, "insufficient_stock")), (20, 20), "{told:?}");
    assert_eq!((plugins[0].counts("a"), plugins[0].counts("b")), ([20, 20, 0], [20, 20, 0]));
}
