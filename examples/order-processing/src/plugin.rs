//! The plugin: what it is made of, how long a request waits for its order, how it fares.

use std::time::Duration;

use forward_sdk::{Context, Error, Health, Plugin, Routes};
use tokio::time::timeout;

use crate::{
    census::Census,
    config::Config,
    driver::{Driver, Drives},
    journal::{self, Holder, Journal},
    metrics::Counts,
    order::Order,
    recovery,
    services::Services,
    tracking::Tracker,
};

/// The database's schema.
const SCHEMA: &str = "orders";
/// How long the question about the plugin's health may take.
const HEALTH: Duration = Duration::from_secs(1);

pub struct Orders {
    pub driver: Driver,
    /// Absent where the manifest does not name analytics.
    tracker: Option<Tracker>,
    request_timeout: Duration,
}

impl Plugin for Orders {
    type Config = Config;

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        config.check()?;
        let Config { database_url, request_timeout, call_timeout, lease, track_for } = config;
        let services = Services::new(context, call_timeout)?;
        let pool = example_database::connect(database_url.trim_end(), SCHEMA, journal::TABLES).await?;
        let journal = Journal::new(pool, lease);
        let counts = Counts::new(context.metrics());
        // A shop may leave it out of its manifest: then nobody is told of orders.
        let analytics = context.dependency("analytics-tracker").ok();
        let tracker = analytics.map(|analytics| {
            let analytics = analytics.with_timeout(call_timeout);
            Tracker::new(analytics, journal.clone(), counts.clone(), track_for)
        });
        let driver = Driver { journal, services, counts, drives: Drives::default() };
        Ok(Self { driver, tracker, request_timeout })
    }

    fn routes(&self) -> Routes<Self> {
        crate::routes::routes()
    }

    async fn start(&self, _: &Context) -> Result<(), Error> {
        let drives = &self.driver.drives;
        drives.tasks.spawn(recovery::recover(self.driver.clone()));
        if let Some(tracker) = &self.tracker {
            drives.tasks.spawn(tracker.clone().run(drives.clone()));
        }
        Ok(())
    }

    /// Other plugins that do not answer are told of, and are no illness of this one: orders wait for
    /// them.
    async fn health(&self) -> Health {
        let census = timeout(HEALTH, Census::take(self.driver.journal.pool())).await;
        let Ok(Ok(census)) = census else { return Health::unhealthy("the database does not answer") };
        self.driver.counts.show(census);
        let health = Health::healthy()
            .detail("pending", census.pending)
            .detail("oldest_pending_seconds", census.oldest.as_secs())
            .detail("tracking_backlog", census.untracked);
        let reaches =
            self.driver.services.reach().into_iter().chain(self.tracker.as_ref().map(Tracker::reach));
        reaches.fold(health, |health, (name, reach)| health.detail(name, reach))
    }

    async fn stop(&self) -> Result<(), Error> {
        self.driver.drives.stop().await;
        self.driver.journal.pool().close().await;
        Ok(())
    }
}

impl Orders {
    /// Drives a new order, and waits for its end for as long as a request waits. The drive is a task
    /// of its own: it goes on when whoever asked has gone.
    pub async fn await_end(&self, order: Order, holder: Holder) -> Order {
        let drive = self.driver.clone().drive(order.clone(), holder, self.request_timeout);
        let drive = self.driver.drives.tasks.spawn(drive);
        if let Ok(Ok(Some(ended))) = timeout(self.request_timeout, drive).await {
            return ended;
        }
        let now = example_database::bounded(self.driver.journal.fetch(&order.id)).await;
        now.ok().flatten().unwrap_or(order)
    }
}
