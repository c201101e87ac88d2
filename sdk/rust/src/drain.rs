//! The time between SIGTERM and the last connection.
//!
//! Those who send requests learn a little later than the plugin that it goes. So it serves on as
//! before for a while; in the second half of that while, each answer is the last one on its
//! connection, so that hardly a connection is left to be closed under a request on its way.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::phase::Phase;

/// Leads from serving to taking no more connections; takes as long as `period`.
pub async fn drain(phases: &watch::Sender<Phase>, period: Duration) {
    phases.send_replace(Phase::Draining);
    // Said once it is so: whoever reads it finds the plugin not ready.
    tracing::info!(?period, "draining");
    sleep(period / 2).await;
    phases.send_replace(Phase::Leaving);
    sleep(period / 2).await;
    phases.send_replace(Phase::Closed);
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn serves_on_says_goodbye_and_closes() {
        let (phases, mut seen) = watch::channel(Phase::Started);
        let start = Instant::now();
        let draining = tokio::spawn(async move { drain(&phases, Duration::from_secs(5)).await });
        for (phase, at) in [(Phase::Draining, 0), (Phase::Leaving, 2_500), (Phase::Closed, 5_000)] {
            seen.changed().await.unwrap();
            assert_eq!(*seen.borrow_and_update(), phase);
            // The timer counts in whole milliseconds and may round up.
            let late = start.elapsed() - Duration::from_millis(at);
            assert!(late <= Duration::from_millis(2), "{phase:?} came {late:?} late");
        }
        draining.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn stays_unready_and_serving_until_the_end() {
        let (phases, seen) = watch::channel(Phase::Started);
        let draining = tokio::spawn(async move { drain(&phases, Duration::from_secs(4)).await });
        for _ in 0..7 {
            tokio::task::yield_now().await;
            advance(Duration::from_millis(500)).await;
            let phase = *seen.borrow();
            assert!(phase.serves() && !phase.is_ready() && phase.is_initialized(), "{phase:?}");
        }
        draining.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_to_drain_closes_at_once() {
        let (phases, seen) = watch::channel(Phase::Started);
        drain(&phases, Duration::ZERO).await;
        assert_eq!(*seen.borrow(), Phase::Closed);
    }
}
