//! Ends reservations whose time is over, in the background, and counts what there is.
//!
//! Nobody depends on it: whoever needs the items of such a reservation ends it himself. The sweep
//! keeps the tables tidy and the metrics true.

use std::time::Duration;

use example_database::bounded;
use forward_sdk::tracing;
use tokio::time::MissedTickBehavior;

use crate::{
    measures::{Measures, Outcome},
    store::Store,
};

/// Sweeps at once and then every `interval`, for ever.
pub async fn run(store: Store, measures: Measures, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep(&store, &measures).await {
            tracing::warn!(%error, "the sweep failed; the next one does its work");
        }
    }
}

async fn sweep(store: &Store, measures: &Measures) -> Result<(), sqlx::Error> {
    loop {
        let (expired, more) = bounded(store.expire_some()).await?;
        if expired > 0 {
            tracing::info!(expired, "reservations expired");
            measures.count_many(Outcome::Expired, u64::try_from(expired).unwrap_or(u64::MAX));
        }
        if !more {
            break;
        }
    }
    measures.show(bounded(store.fetch_totals()).await?);
    Ok(())
}
