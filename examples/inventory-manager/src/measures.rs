//! What is measured. Labels are closed sets: no SKU is one, as there may be any number of them.

use forward_sdk::{
    Health, Metrics,
    prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use crate::store::Totals;

type Label = [(&'static str, &'static str); 1];

#[derive(Clone, Debug)]
pub struct Measures {
    outcomes: Family<Label, Counter>,
    items: Gauge,
    units: Family<Label, Gauge>,
    active: Gauge,
}

/// What became of a wish, or of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Reserved,
    /// A wish that had been granted before.
    Replayed,
    InsufficientStock,
    /// A wish, or a request to end a reservation, that what the reservation is stands against.
    Refused,
    Committed,
    Released,
    Expired,
}

impl Outcome {
    fn label(self) -> Label {
        let outcome = match self {
            Self::Reserved => "reserved",
            Self::Replayed => "replayed",
            Self::InsufficientStock => "insufficient_stock",
            Self::Refused => "refused",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        };
        [("outcome", outcome)]
    }
}

impl Measures {
    pub fn register(metrics: &Metrics) -> Self {
        let (outcomes, units) = (Family::default(), Family::default());
        let (items, active) = (Gauge::default(), Gauge::default());
        metrics.register("inventory_reservations", "Reservations by what became of them", outcomes.clone());
        metrics.register("inventory_items", "Items in the inventory", items.clone());
        metrics.register("inventory_units", "Units of all items together", units.clone());
        metrics.register("inventory_active_reservations", "Reservations that hold items", active.clone());
        Self { outcomes, items, units, active }
    }

    pub fn count(&self, outcome: Outcome) {
        self.count_many(outcome, 1);
    }

    pub fn count_many(&self, outcome: Outcome, count: u64) {
        self.outcomes.get_or_create(&outcome.label()).inc_by(count);
    }

    /// Shows the totals of the database, which are the same for every pod.
    pub fn show(&self, totals: Totals) {
        let Totals { items, on_hand, reserved, active } = totals;
        self.items.set(items);
        self.active.set(active);
        self.on_hand().set(on_hand);
        self.reserved().set(reserved);
    }

    /// Adds the totals that were shown last.
    pub fn describe(&self, health: Health) -> Health {
        health
            .detail("items", self.items.get())
            .detail("units_on_hand", self.on_hand().get())
            .detail("units_reserved", self.reserved().get())
            .detail("active_reservations", self.active.get())
    }

    fn on_hand(&self) -> Gauge {
        self.units.get_or_create(&[("state", "on_hand")]).clone()
    }

    fn reserved(&self) -> Gauge {
        self.units.get_or_create(&[("state", "reserved")]).clone()
    }
}
