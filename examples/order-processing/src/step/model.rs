//! The decision against simple models of the other plugins: drivers that crash or work side by side,
//! answers that are lost, calls that arrive late. Whatever happens, an order ends right.

use proptest::prelude::*;

use super::Step;
use crate::outcome::{Outcome, Reason, Refusal};

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A driver takes the order up, whether or not another one still drives it.
    TakeUp,
    /// One of the drivers makes the call of the step that it knows.
    Call(usize, Fate),
    /// A call that was on its way for long arrives. Nobody waits for its answer any more.
    Arrive(usize),
    /// Somebody else buys the stock, or there is some again.
    Stock(bool),
    /// The reservation runs out, if it is still active.
    Expire,
    /// The customer's bank begins or ceases to decline.
    Bank(bool),
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// It does not arrive.
    Lost,
    /// It arrives, and its answer does not.
    AnswerLost,
    /// It arrives some time, or never.
    Delayed,
    /// It arrives, and whoever made it is killed before the answer is written down.
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reservation {
    Active,
    Committed,
    Released,
    Expired,
}

#[derive(Clone, Copy, Debug)]
struct Driver {
    holder: usize,
    knows: Step,
}

/// The journal's row, the other plugins and the drivers.
#[derive(Debug)]
struct World {
    step: Step,
    holder: usize,
    drivers: Vec<Driver>,
    on_the_way: Vec<Step>,
    stock: bool,
    declines: bool,
    /// The payment with the order's key: whether it succeeded.
    payment: Option<bool>,
    refunded: bool,
    reservation: Option<Reservation>,
}

impl World {
    fn new() -> Self {
        Self {
            step: Step::Checking,
            holder: 0,
            drivers: Vec::new(),
            on_the_way: Vec::new(),
            stock: true,
            declines: false,
            payment: None,
            refunded: false,
            reservation: None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::TakeUp => self.take_up(),
            Event::Call(which, fate) if !self.drivers.is_empty() => {
                self.call(which % self.drivers.len(), fate)
            }
            Event::Arrive(which) if !self.on_the_way.is_empty() => {
                let step = self.on_the_way.swap_remove(which % self.on_the_way.len());
                self.effect(step);
            }
            Event::Call(..) | Event::Arrive(_) => {}
            Event::Stock(there) => self.stock = there,
            Event::Expire if self.reservation == Some(Reservation::Active) => {
                self.reservation = Some(Reservation::Expired);
            }
            Event::Expire => {}
            Event::Bank(declines) => self.declines = declines,
        }
    }

    fn take_up(&mut self) {
        if !self.step.is_final() {
            self.holder += 1;
            self.drivers.push(Driver { holder: self.holder, knows: self.step });
        }
    }

    fn call(&mut self, which: usize, fate: Fate) {
        let Driver { holder, knows } = self.drivers[which];
        let outcome = match fate {
            Fate::Answered => self.effect(knows),
            Fate::Lost => unknown(),
            Fate::AnswerLost => {
                self.effect(knows);
                unknown()
            }
            Fate::Delayed => {
                self.on_the_way.push(knows);
                unknown()
            }
            Fate::Killed => {
                self.effect(knows);
                self.drivers.swap_remove(which);
                return;
            }
        };
        let next = knows.next(&outcome);
        if next == knows {
            return;
        }
        // Compare and set, as the journal does it.
        if self.step == knows && self.holder == holder {
            self.step = next;
            self.drivers[which].knows = next;
        }
        if self.step != next || self.holder != holder || next.is_final() {
            self.drivers.swap_remove(which);
        }
    }

    /// What a call does when it arrives.
    fn effect(&mut self, step: Step) -> Outcome {
        match step {
            Step::Checking => done_if(self.stock),
            Step::Charging => done_if(*self.payment.get_or_insert(!self.declines)),
            Step::Refunding => {
                assert_eq!(self.payment, Some(true), "a payment that was not made is refunded");
                self.refunded = true;
                Outcome::Done
            }
            Step::Reserving | Step::Committing | Step::Releasing => self.effect_on_stock(step),
            Step::Completed | Step::Rejected => panic!("an order that has ended makes no calls"),
        }
    }

    fn effect_on_stock(&mut self, step: Step) -> Outcome {
        use Reservation::{Active, Committed, Expired, Released};
        let (after, outcome) = match (step, self.reservation) {
            (Step::Reserving, None) if self.stock => (Some(Active), Outcome::Done),
            (Step::Reserving, Some(Active | Committed)) => (self.reservation, Outcome::Done),
            (Step::Committing, Some(Active | Committed)) => (Some(Committed), Outcome::Done),
            (Step::Releasing, None | Some(Active | Released)) => (Some(Released), Outcome::Done),
            (Step::Releasing, Some(Expired)) => (Some(Expired), Outcome::Done),
            (_, before) => (before, refused()),
        };
        self.reservation = after;
        outcome
    }

    /// Somebody who is not disturbed brings the order to its end; then what is still on its way
    /// arrives, and what others still do who do not know that it is over.
    fn end(&mut self) {
        self.take_up();
        for _ in 0..Step::ALL.len() {
            let mine = self.drivers.iter().position(|driver| driver.holder == self.holder);
            if let Some(mine) = mine {
                self.call(mine, Fate::Answered);
            }
        }
        let late = self.drivers.iter().map(|driver| driver.knows);
        for step in late.chain(self.on_the_way.iter().copied()).collect::<Vec<_>>() {
            self.effect(step);
        }
    }

    fn is_right(&self) -> bool {
        let paid = self.payment == Some(true) && !self.refunded;
        match self.step {
            Step::Completed => paid && self.reservation == Some(Reservation::Committed),
            Step::Rejected => {
                let holds = matches!(self.reservation, Some(Reservation::Active | Reservation::Committed));
                !paid && !holds
            }
            _ => false,
        }
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown("no answer".to_owned())
}

fn refused() -> Outcome {
    Outcome::Refused(Refusal::new(Reason::InsufficientStock, "no"))
}

fn done_if(so: bool) -> Outcome {
    if so { Outcome::Done } else { refused() }
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::AnswerLost),
        2 => Just(Fate::Delayed),
        1 => Just(Fate::Killed),
    ];
    prop_oneof![
        3 => Just(Event::TakeUp),
        10 => (any::<usize>(), fate).prop_map(|(which, fate)| Event::Call(which, fate)),
        2 => any::<usize>().prop_map(Event::Arrive),
        2 => any::<bool>().prop_map(Event::Stock),
        1 => Just(Event::Expire),
        1 => any::<bool>().prop_map(Event::Bank),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn an_order_ends_right_whatever_breaks(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in &events {
            world.happen(*event);
        }
        world.end();
        prop_assert!(world.is_right(), "{world:?}");
    }
}

/// Each end is reached, so the property above is not about nothing.
#[test]
fn both_ends_are_reached() {
    let end = |events: &[Event]| {
        let mut world = World::new();
        events.iter().for_each(|event| world.happen(*event));
        world.end();
        (world.step, world.payment, world.refunded)
    };
    let answered = Event::Call(0, Fate::Answered);
    assert_eq!(end(&[]), (Step::Completed, Some(true), false));
    assert_eq!(end(&[Event::Bank(true)]), (Step::Rejected, Some(false), false));
    let sold_out = [Event::TakeUp, answered, answered, Event::Stock(false)];
    assert_eq!(end(&sold_out), (Step::Rejected, Some(true), true));
    let expired = [Event::TakeUp, answered, answered, answered, Event::Expire];
    assert_eq!(end(&expired), (Step::Rejected, Some(true), true));
}
