//! The plugins that an order goes through, and the call of each step.
//!
//! Owns what their answers mean. Invariant: an answer counts as done or refused only where the
//! interface says that it is final; everything else, whatever its status, is unknown.

mod inventory;
mod payments;
mod reach;
mod reply;

use std::time::Duration;

use forward_sdk::{Context, UndeclaredDependency};

pub use crate::services::reach::{Reach, Service};
use crate::{
    order::Order,
    outcome::{Answer, Unclear},
    services::inventory::Inventory,
    services::payments::Payments,
    step::Step,
};

/// The plugins that every order needs.
#[derive(Clone, Debug)]
pub struct Services {
    payments: Payments,
    inventory: Inventory,
}

impl Services {
    /// # Errors
    /// When the manifest does not declare one of them.
    pub fn new(context: &Context, timeout: Duration) -> Result<Self, UndeclaredDependency> {
        let service = |name| context.dependency(name).map(|found| Service::new(found.with_timeout(timeout)));
        Ok(Self {
            payments: Payments::new(service("payment-processor")?),
            inventory: Inventory::new(service("inventory-manager")?),
        })
    }

    /// Makes the call of the order's step.
    pub async fn call(&self, order: &Order) -> Answer {
        let answer = match order.step {
            Step::Checking => self.inventory.check(order).await,
            Step::Charging => self.payments.charge(order).await,
            Step::Reserving => self.inventory.reserve(order).await,
            Step::Committing => self.inventory.commit(order).await,
            Step::Releasing => self.inventory.release(order).await,
            Step::Refunding => self.payments.refund(order).await,
            Step::Completed | Step::Rejected => Err(Unclear("the order has ended".to_owned())),
        };
        answer.unwrap_or_else(Answer::from)
    }

    /// How they answered last, by their names.
    pub fn reach(&self) -> [(&str, Reach); 2] {
        [self.payments.service().reach(), self.inventory.service().reach()]
    }
}
