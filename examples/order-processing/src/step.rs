//! Where an order stands, and where it goes from there: the decision, and nothing else.
//!
//! A step is the one call that may be under way for the order. Every call can be made again with the
//! same effect as once, so an order goes on from its step whoever drives it, and however often. From
//! this the rules follow:
//!
//! - what is unknown is asked again; the opposite is never done on a guess;
//! - a payment that may have been made is found out about before anything is given up: only a charge
//!   that was refused ends an order without a refund;
//! - a reservation is released before the refund, so that no late one is left when the order ends.
//!
//! Invariant: a completed order is paid, not refunded, and its reservation committed; a rejected one
//! is not paid or fully refunded, and holds no stock.

#[cfg(test)]
mod model;

use crate::outcome::Outcome;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// What are the prices, and is there enough of everything?
    Checking,
    /// The total is charged.
    Charging,
    /// The stock is reserved.
    Reserving,
    /// The reservation is made final.
    Committing,
    /// What may be reserved is given back.
    Releasing,
    /// What was paid is given back.
    Refunding,
    /// The end: paid and taken out of stock.
    Completed,
    /// The end: neither paid nor taken out of stock.
    Rejected,
}

use Step::{Charging, Checking, Committing, Completed, Refunding, Rejected, Releasing, Reserving};

impl Step {
    /// All of them, in the order of an order's way.
    pub const ALL: [Self; 8] =
        [Checking, Charging, Reserving, Committing, Releasing, Refunding, Completed, Rejected];

    /// Where an order goes when the call of its step ended so. The same step again means: the same
    /// call again.
    pub fn next(self, outcome: &Outcome) -> Self {
        match (self, outcome) {
            (Completed | Rejected, _) | (_, Outcome::Unknown(_)) => self,

            (Checking, Outcome::Done) => Charging,
            (Charging, Outcome::Done) => Reserving,
            (Reserving, Outcome::Done) => Committing,
            (Committing, Outcome::Done) => Completed,

            // Nothing is paid and nothing reserved.
            (Checking | Charging, Outcome::Refused(_)) => Rejected,

            (Reserving | Committing, Outcome::Refused(_)) => Releasing,
            (Releasing, Outcome::Done) => Refunding,
            // The one reason not to release: the goods are on their way, and they are paid.
            (Releasing, Outcome::Refused(_)) => Completed,

            (Refunding, Outcome::Done) => Rejected,
            // The money is not ours. It is tried until somebody makes the refund possible.
            (Refunding, Outcome::Refused(_)) => Refunding,
        }
    }

    /// Whether the order has come to its end.
    pub fn is_final(self) -> bool {
        matches!(self, Completed | Rejected)
    }

    /// The step's name in the journal, in answers and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Checking => "checking",
            Charging => "charging",
            Reserving => "reserving",
            Committing => "committing",
            Releasing => "releasing",
            Refunding => "refunding",
            Completed => "completed",
            Rejected => "rejected",
        }
    }

    /// The step of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// What customers are told of it: an order is under way, or how it ended.
    pub fn status(self) -> &'static str {
        if self.is_final() { self.name() } else { "pending" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Reason, Refusal};

    /// From every step: where to when done, and when refused.
    const WAYS: [(Step, Step, Step); 8] = [
        (Checking, Charging, Rejected),
        (Charging, Reserving, Rejected),
        (Reserving, Committing, Releasing),
        (Committing, Completed, Releasing),
        (Releasing, Refunding, Completed),
        (Refunding, Rejected, Refunding),
        (Completed, Completed, Completed),
        (Rejected, Rejected, Rejected),
    ];

    #[test]
    fn every_step_has_its_ways() {
        let refused = Outcome::Refused(Refusal::new(Reason::InsufficientStock, "none left"));
        for ((from, done, no), step) in WAYS.into_iter().zip(Step::ALL) {
            assert_eq!(from, step);
            assert_eq!((from.next(&Outcome::Done), from.next(&refused)), (done, no), "{from:?}");
        }
    }

    #[test]
    fn what_is_unknown_leads_nowhere() {
        for step in Step::ALL {
            assert_eq!(step.next(&Outcome::Unknown("no answer".to_owned())), step);
        }
    }

    #[test]
    fn names_are_read_back() {
        for step in Step::ALL {
            assert_eq!(Step::named(step.name()), Some(step));
        }
        assert_eq!(Step::named("lost"), None);
    }
}
