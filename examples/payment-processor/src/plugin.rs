//! The plugin: wires the parts together, and tells how they fare.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use forward_sdk::{Context, Error, Health, Plugin, Routes, schema_of};
use serde_json::Value;
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use crate::{
    api,
    cashier::Cashier,
    config::{Config, Environment, Webhook},
    ledger::{Census, Ledger},
    metrics::Metrics,
    processor::{Processor, Sandbox, Stripe},
    recovery::{self, ProcessorState},
};

/// How long the database may take to count.
const COUNT: Duration = Duration::from_secs(1);

pub struct PaymentProcessor {
    pub cashier: Arc<Cashier>,
    pub webhook: Webhook,
    environment: Environment,
    processor: watch::Sender<ProcessorState>,
    background: Mutex<Option<AbortHandle>>,
}

impl Plugin for PaymentProcessor {
    type Config = Config;

    fn config_schema() -> Option<Value> {
        Some(schema_of::<Config>())
    }

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        let settings = config.resolve()?;
        let processor: Arc<dyn Processor> = match settings.environment {
            Environment::Sandbox => Arc::new(Sandbox),
            Environment::Production => Arc::new(Stripe::new(&settings.api_key)),
        };
        let ledger = Ledger::connect(&settings.database_url).await?;
        let metrics = Metrics::new();
        metrics.show(context.metrics());
        Ok(Self {
            cashier: Arc::new(Cashier { terms: settings.terms, ledger, processor, metrics }),
            webhook: settings.webhook,
            environment: settings.environment,
            processor: watch::Sender::new(None),
            background: Mutex::default(),
        })
    }

    fn routes(&self) -> Routes<Self> {
        Routes::new()
            .post("/api/payments/process", api::process)
            .describe("Takes a payment.")
            .get("/api/payments", api::list)
            .describe("Lists payments, newest first.")
            .get("/api/payments/:id", api::show)
            .describe("Shows a payment and its refunds.")
            .post("/api/payments/:id/refund", api::refund)
            .describe("Gives a payment back, or some of it.")
            .post("/api/payments/webhook", api::webhook)
            .describe("Takes the processor's events.")
    }

    async fn start(&self, _: &Context) -> Result<(), Error> {
        let work = recovery::run(self.cashier.clone(), self.webhook.tolerance, self.processor.clone());
        let task = tokio::spawn(work).abort_handle();
        *self.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    async fn health(&self) -> Health {
        let ledger = &self.cashier.ledger;
        let (latency, census) = futures::join!(ledger.latency(), timeout(COUNT, ledger.count()));
        let latency = match latency {
            Ok(latency) => latency,
            Err(_) => return Health::unhealthy("the database does not answer"),
        };
        let health = match self.processor.borrow().as_ref() {
            Some(wrong) => Health::unhealthy(format!("the processor does not answer as it should: {wrong}")),
            None => Health::healthy(),
        };
        let health = health
            .detail("environment", format!("{:?}", self.environment).to_lowercase())
            .detail("database_ms", latency.as_millis());
        match census {
            Ok(Ok(census)) => counted(health, census),
            // It answers, if slowly.
            Ok(Err(_)) | Err(_) => health,
        }
    }

    async fn stop(&self) -> Result<(), Error> {
        // What it is at is taken up by whoever runs then, as after a crash.
        if let Some(task) = self.background.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        Ok(())
    }
}

fn counted(health: Health, census: Census) -> Health {
    let Census { payments_last_hour, pending_payments, pending_refunds, stuck } = census;
    let health = health
        .detail("payments_last_hour", payments_last_hour)
        .detail("pending_payments", pending_payments)
        .detail("pending_refunds", pending_refunds)
        .detail("stuck", stuck);
    if stuck == 0 {
        return health;
    }
    health.message("some payments or refunds have been pending for a day and need somebody to look at them")
}
