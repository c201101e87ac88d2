//! Takes up the orders that nobody drives: those that wait for another plugin, and those whose driver
//! is gone.

use std::{sync::Arc, time::Duration};

use forward_sdk::tracing;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

use crate::{census::Census, driver::Driver};

/// How often it is looked for orders that are due.
const EVERY: Duration = Duration::from_millis(500);
/// How often the orders under way are counted, in looks.
const COUNTED_EVERY: u32 = 10;
/// How many orders are driven at the same time, besides those that requests wait for. Each needs a
/// connection to the database now and then, of which there are 10.
const AT_ONCE: usize = 16;

/// Takes up orders until the drives are to stop.
pub async fn recover(driver: Driver) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u32.. {
        tokio::select! {
            _ = looks.tick() => {}
            () = driver.drives.stopping.cancelled() => return,
        }
        if look.is_multiple_of(COUNTED_EVERY) {
            count(&driver).await;
        }
        match take_up(&driver, &slots).await {
            // There may be more than there was room for.
            Ok(taken) if taken == AT_ONCE => looks.reset_immediately(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the journal could not be searched for orders that are due"),
        }
    }
}

/// Drives as many as there is room for; says how many.
async fn take_up(driver: &Driver, slots: &Arc<Semaphore>) -> Result<usize, sqlx::Error> {
    let room = slots.available_permits();
    if room == 0 {
        return Ok(0);
    }
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let (orders, holder) = example_database::bounded(driver.journal.take_up(limit)).await?;
    let taken = orders.len();
    for order in orders {
        let slot = slots.clone().try_acquire_owned();
        driver.counts.recovered.inc();
        tracing::info!(order = order.id, step = order.step.name(), "an order is taken up");
        let drive = driver.clone().drive(order, holder.clone(), Duration::ZERO);
        driver.drives.tasks.spawn(async move {
            drive.await;
            drop(slot);
        });
    }
    Ok(taken)
}

async fn count(driver: &Driver) {
    match example_database::bounded(Census::take(driver.journal.pool())).await {
        Ok(census) => driver.counts.show(census),
        Err(error) => tracing::warn!(%error, "the orders could not be counted"),
    }
}
