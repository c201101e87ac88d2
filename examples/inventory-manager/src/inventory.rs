//! The plugin: what it is made of, and the order in which its parts come up and go down.
//!
//! Owns no state: whatever another pod has to know is in PostgreSQL, since several pods, of two
//! versions during a rollout, answer side by side.

use std::{sync::OnceLock, time::Duration};

use forward_sdk::{Context, Error, Health, Plugin, Routes};
use tokio::task::AbortHandle;

use crate::{
    api,
    config::{Config, Settings},
    measures::Measures,
    store::Store,
    sweep,
};

pub struct Inventory {
    pub store: Store,
    pub measures: Measures,
    /// What every price is in.
    pub currency: String,
    /// How long a reservation lasts when the request does not say.
    pub reservation_ttl: Duration,
    expiry_interval: Duration,
    sweep: OnceLock<AbortHandle>,
}

impl Plugin for Inventory {
    type Config = Config;

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        let settings = config.check()?;
        let Settings { database_url, currency, reservation_ttl, expiry_interval, items } = settings;
        let store = Store::connect(&database_url).await?;
        store.refuse_other_currencies(&currency).await?;
        store.add_missing(&items).await?;
        let measures = Measures::register(context.metrics());
        Ok(Self { store, measures, currency, reservation_ttl, expiry_interval, sweep: OnceLock::new() })
    }

    fn routes(&self) -> Routes<Self> {
        api::routes()
    }

    async fn start(&self, _: &Context) -> Result<(), Error> {
        let sweep = sweep::run(self.store.clone(), self.measures.clone(), self.expiry_interval);
        self.sweep.get_or_init(|| tokio::spawn(sweep).abort_handle());
        Ok(())
    }

    async fn health(&self) -> Health {
        let health = match self.store.latency().await {
            Ok(latency) => Health::healthy().detail("database_milliseconds", latency.as_millis()),
            Err(error) => Health::unhealthy("the database does not answer").detail("database", error),
        };
        self.measures.describe(health)
    }

    /// A sweep that is cut off in its transaction leaves things as they were; the next one, here or
    /// in another pod, does it again.
    async fn stop(&self) -> Result<(), Error> {
        if let Some(sweep) = self.sweep.get() {
            sweep.abort();
        }
        Ok(())
    }
}
