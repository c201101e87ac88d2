//! What is done without being asked for, as long as the plugin runs.

use std::{sync::Arc, time::Duration};

use forward_sdk::{chain, tracing};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::cashier::Cashier;

/// How often what is left over is looked for.
const RECOVER: Duration = Duration::from_secs(2);
/// How often the processor is asked whether it answers. Health is asked for more often than a
/// processor should be.
const CHECK: Duration = Duration::from_secs(15);
/// How often old messages are forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// What the processor said last: what is wrong with it, if anything.
pub type ProcessorState = Option<String>;

/// Runs for ever.
pub async fn run(cashier: Arc<Cashier>, tolerance: Duration, state: watch::Sender<ProcessorState>) {
    let recover = async {
        let mut ticks = every(RECOVER);
        loop {
            ticks.tick().await;
            log(cashier.recover().await);
        }
    };
    let forget = async {
        let mut ticks = every(FORGET);
        loop {
            ticks.tick().await;
            log(cashier.ledger.forget(tolerance).await);
        }
    };
    let check = async {
        let mut ticks = every(CHECK);
        loop {
            ticks.tick().await;
            state.send_replace(check(&cashier).await);
        }
    };
    futures::join!(recover, forget, check);
}

async fn check(cashier: &Cashier) -> ProcessorState {
    let error = chain(&cashier.processor.health().await.err()?);
    tracing::warn!(error, "the processor does not answer as it should");
    Some(error)
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A database that is away is told of by health; it is tried again with the next tick.
fn log(done: Result<(), sqlx::Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the database did not answer");
    }
}
