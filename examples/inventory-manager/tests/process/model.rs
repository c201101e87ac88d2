//! Whatever comes in whatever order, the plugin does what a model does that fits on a page.

use std::collections::BTreeMap;

use proptest::{
    prelude::{Strategy, prop_oneof},
    test_runner::{Config, TestRunner},
};

use example_testing::told;

use crate::world::{Plugin, World};

const SKUS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Operation {
    Stock { sku: usize, on_hand: i64 },
    Reserve { id: u8, quantities: [i64; 3] },
    Commit { id: u8 },
    Release { id: u8 },
    LetExpire { id: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    Active,
    Committed,
    Released,
    Expired,
}

/// What there should be.
#[derive(Debug, Default)]
struct Model {
    on_hand: [i64; 3],
    reservations: BTreeMap<u8, (Status, [i64; 3])>,
}

impl Model {
    fn reserved(&self, sku: usize) -> i64 {
        let active = self.reservations.values().filter(|(status, _)| *status == Status::Active);
        active.map(|(_, quantities)| quantities[sku]).sum()
    }

    fn stock(&mut self, sku: usize, on_hand: i64) -> (u16, &'static str) {
        if on_hand < self.reserved(sku) {
            return (409, "below_reserved");
        }
        self.on_hand[sku] = on_hand;
        (200, "")
    }

    fn reserve(&mut self, id: u8, quantities: [i64; 3]) -> (u16, &'static str) {
        match self.reservations.get(&id) {
            Some((Status::Released, _)) => (409, "reservation_released"),
            Some((Status::Expired, _)) => (409, "reservation_expired"),
            Some((_, there)) if *there == quantities => (200, ""),
            Some(_) => (409, "reservation_differs"),
            None if (0..3).any(|sku| quantities[sku] > self.on_hand[sku] - self.reserved(sku)) => {
                (409, "insufficient_stock")
            }
            None => {
                self.reservations.insert(id, (Status::Active, quantities));
                (201, "")
            }
        }
    }

    fn commit(&mut self, id: u8) -> (u16, &'static str) {
        let Some((status, quantities)) = self.reservations.get_mut(&id) else { return (404, "") };
        match status {
            Status::Released => (409, "reservation_released"),
            Status::Expired => (409, "reservation_expired"),
            Status::Committed => (200, ""),
            Status::Active => {
                *status = Status::Committed;
                for (on_hand, quantity) in self.on_hand.iter_mut().zip(quantities) {
                    *on_hand -= *quantity;
                }
                (200, "")
            }
        }
    }

    fn release(&mut self, id: u8) -> (u16, &'static str) {
        let (status, _) = self.reservations.entry(id).or_insert((Status::Released, [0; 3]));
        match status {
            Status::Committed => return (409, "reservation_committed"),
            Status::Active => *status = Status::Released,
            Status::Released | Status::Expired => {}
        }
        (200, "")
    }

    fn let_expire(&mut self, id: u8) {
        if let Some((status @ Status::Active, _)) = self.reservations.get_mut(&id) {
            *status = Status::Expired;
        }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let id = || 0..6_u8;
    let quantities =
        [0..4_i64, 0..4, 0..4].prop_filter("something is wanted", |all| all.iter().any(|q| *q > 0));
    prop_oneof![
        1 => (0..3_usize, 0..10_i64).prop_map(|(sku, on_hand)| Operation::Stock { sku, on_hand }),
        4 => (id(), quantities).prop_map(|(id, quantities)| Operation::Reserve { id, quantities }),
        2 => id().prop_map(|id| Operation::Commit { id }),
        2 => id().prop_map(|id| Operation::Release { id }),
        1 => id().prop_map(|id| Operation::LetExpire { id }),
    ]
}

/// Does an operation in both worlds, which must say the same.
fn apply(world: &World, plugin: &Plugin, model: &mut Model, case: &str, operation: &Operation) {
    let name = |id: u8| format!("{case}-{id}");
    let sku = |index: usize| format!("{case}-{}", SKUS[index]);
    let (answer, expected) = match *operation {
        Operation::Stock { sku: index, on_hand } => {
            (plugin.put_item(&sku(index), on_hand), model.stock(index, on_hand))
        }
        Operation::Reserve { id, quantities } => {
            let skus = [sku(0), sku(1), sku(2)];
            let lines = skus.iter().map(String::as_str).zip(quantities).filter(|(_, quantity)| *quantity > 0);
            (plugin.reserve(&name(id), &lines.collect::<Vec<_>>()), model.reserve(id, quantities))
        }
        Operation::Commit { id } => (plugin.commit(&name(id)), model.commit(id)),
        Operation::Release { id } => (plugin.release(&name(id)), model.release(id)),
        Operation::LetExpire { id } => {
            model.let_expire(id);
            return world.let_expire(&name(id));
        }
    };
    let (status, code) = expected;
    assert_eq!(told(&answer), (status, code.to_owned()), "{operation:?} {answer:?}");
}

#[test]
fn does_what_the_model_does() {
    let world = World::new("model");
    let plugin = world.plugin();
    // Cases share the plugin, but no item and no reservation.
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let operations = proptest::collection::vec(operation(), 1..40);
    let run = TestRunner::new(config).run(&operations, |operations| {
        case.set(case.get() + 1);
        let case = format!("case-{}", case.get());
        let mut model = Model::default();
        for (index, sku) in SKUS.iter().enumerate() {
            model.on_hand[index] = 5;
            plugin.stock(&format!("{case}-{sku}"), 5);
        }
        for operation in &operations {
            apply(&world, &plugin, &mut model, &case, operation);
            for (index, sku) in SKUS.iter().enumerate() {
                let (on_hand, reserved) = (model.on_hand[index], model.reserved(index));
                let counts = plugin.counts(&format!("{case}-{sku}"));
                assert_eq!(counts, [on_hand, reserved, on_hand - reserved], "after {operation:?}");
            }
        }
        Ok(())
    });
    run.unwrap();
}
