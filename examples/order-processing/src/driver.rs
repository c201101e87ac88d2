//! Drives orders: the call of the step, what comes of it, the journal, the next step.
//!
//! Refuses to decide anything: that is [`Step::next`](crate::step::Step::next). Invariant: no call is
//! made before the step that it belongs to stands in the journal.

use std::time::{Duration, Instant};

use example_database::bounded;
use forward_sdk::tracing;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backoff,
    journal::{Holder, Journal},
    metrics::Counts,
    order::Order,
    outcome::Outcome,
    services::Services,
};

/// What drives need; clones share it.
#[derive(Clone, Debug)]
pub struct Driver {
    pub journal: Journal,
    pub services: Services,
    pub counts: Counts,
    pub drives: Drives,
}

/// The drives under way, for the end of the process: they finish the step that they are at.
#[derive(Clone, Debug, Default)]
pub struct Drives {
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
}

/// Where a drive has come to.
enum Way {
    /// At another step.
    On(Order),
    /// At the same step: nobody knows what became of the call.
    Again(Order),
}

impl Driver {
    /// Drives an order to its end, if it comes to one in time. A call whose outcome is unknown is made
    /// again for as long as `patience`; then the order is put back, and is due again after a pause.
    /// `None`: it has not ended, or somebody else drives it now.
    pub async fn drive(self, order: Order, holder: Holder, patience: Duration) -> Option<Order> {
        let id = order.id.clone();
        match self.drive_on(order, &holder, Instant::now() + patience).await {
            Ok(ended) => ended,
            Err(error) => {
                // The order is taken up again when the lease has run out.
                tracing::warn!(order = id, %error, "a step could not be written down");
                None
            }
        }
    }

    async fn drive_on(
        &self,
        mut order: Order,
        holder: &Holder,
        until: Instant,
    ) -> Result<Option<Order>, sqlx::Error> {
        while !order.step.is_final() {
            if self.drives.stopping.is_cancelled() {
                bounded(self.journal.put_back(&order, holder, Duration::ZERO)).await?;
                return Ok(None);
            }
            order = match self.make_step(order, holder).await? {
                None => return Ok(None),
                Some(Way::On(order)) => order,
                Some(Way::Again(order)) => {
                    let pause = backoff::pause(order.attempts, backoff::chance());
                    if Instant::now() + pause >= until || self.drives.stopping.is_cancelled() {
                        bounded(self.journal.put_back(&order, holder, pause)).await?;
                        return Ok(None);
                    }
                    self.rest(pause).await;
                    order
                }
            };
        }
        self.counts.finish(&order);
        tracing::info!(order = order.id, outcome = order.step.name(), "an order has ended");
        Ok(Some(order))
    }

    /// Makes the call of the step and writes down where that leads. `None`: somebody else drives the
    /// order now, and what was learnt is for them to learn again.
    async fn make_step(&self, order: Order, holder: &Holder) -> Result<Option<Way>, sqlx::Error> {
        let begin = Instant::now();
        let answer = self.services.call(&order).await;
        self.counts.observe(order.step, &answer.outcome, begin.elapsed());
        log(&order, &answer.outcome);
        if order.step.next(&answer.outcome) == order.step {
            let order = Order { attempts: order.attempts.saturating_add(1), ..order };
            let held = bounded(self.journal.hold_on(&order, holder)).await?;
            return Ok(held.then_some(Way::Again(order)));
        }
        Ok(bounded(self.journal.advance(&order, holder, &answer)).await?.map(Way::On))
    }

    /// Waits, unless the process is to end.
    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.drives.stopping.cancelled() => {}
        }
    }
}

impl Drives {
    /// Ends the drives: each finishes its step and puts its order back, due at once.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn log(order: &Order, outcome: &Outcome) {
    let (id, step, tries) = (&order.id, order.step.name(), order.attempts + 1);
    match outcome {
        Outcome::Done => tracing::debug!(order = id, step, "done"),
        Outcome::Refused(refusal) => {
            tracing::info!(
                order = id,
                step,
                reason = refusal.reason.name(),
                detail = refusal.detail,
                "refused"
            );
        }
        Outcome::Unknown(why) => {
            tracing::warn!(order = id, step, tries, why, "it is unknown what became of a call")
        }
    }
}
