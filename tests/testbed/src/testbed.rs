//! The plugin's life, as configured.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use forward_sdk::{Context, Error, Health, Middleware, Plugin, Routes, tracing};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    collector::Span,
    config::{Bytes, Config},
    endpoints, mark,
};

pub struct Testbed {
    pub config: Config,
    pub context: Context,
    prefix: String,
    unhealthy: Mutex<Option<String>>,
    note: Mutex<Option<String>>,
    reloads: AtomicU32,
    /// How often it was asked whose a session is.
    pub asked: AtomicU32,
    hooks: Mutex<Vec<String>>,
    /// What others have sent of traces.
    pub spans: Mutex<Vec<Span>>,
    memory: Mutex<Vec<u8>>,
}

impl Plugin for Testbed {
    type Config = Config;

    fn config_schema() -> Option<Value> {
        // The kernel keeps no more of an exit code.
        Some(json!({"properties": {"exitCode": {"maximum": 255}}}))
    }

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        pause(config.initialize_delay).await;
        if let Some(message) = &config.panic {
            panic!("{message}");
        }
        if config.block {
            std::thread::sleep(Duration::MAX);
        }
        if let Some(message) = config.fail_initialize {
            return Err(message.into());
        }
        let prefix = config.prefix.clone().unwrap_or_else(|| format!("/testbed/{}", context.name()));
        Ok(Self {
            prefix,
            context: context.clone(),
            unhealthy: Mutex::new(config.unhealthy.clone()),
            note: Mutex::new(config.note.clone()),
            reloads: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            hooks: Mutex::default(),
            spans: Mutex::default(),
            memory: Mutex::default(),
            config,
        })
    }

    fn routes(&self) -> Routes<Self> {
        if let Some(message) = &self.config.panic_in_routes {
            panic!("{message}");
        }
        endpoints::routes(&self.prefix)
    }

    fn middleware(&self) -> Middleware<Self> {
        mark::middleware(self.config.middleware, self.config.sessions)
    }

    async fn start(&self, _: &Context) -> Result<(), Error> {
        pause(self.config.start_delay).await;
        if let Some(Bytes(amount)) = self.config.allocate {
            // Ones, since zeroes need no memory until they are touched.
            *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = vec![1; amount];
        }
        if let Some(message) = self.config.fail_start.clone() {
            return Err(message.into());
        }
        if self.config.never_ready {
            std::future::pending::<()>().await;
        }
        if let Some(after) = self.config.crash_after {
            let code = self.config.exit_code.0;
            tokio::spawn(async move {
                sleep(after).await;
                tracing::error!(code, "exiting as configured");
                std::process::exit(code);
            });
        }
        Ok(())
    }

    async fn health(&self) -> Health {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).len();
        let health = match self.unhealthy.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(message) => Health::unhealthy(message),
            None => Health::healthy(),
        };
        health.detail("memory", memory)
    }

    async fn reload(&self, config: Config, _: &Context) -> Result<(), Error> {
        if let Some(message) = config.fail_reload {
            return Err(message.into());
        }
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = config.note;
        self.reloads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn stop(&self) -> Result<(), Error> {
        pause(self.config.stop_delay).await;
        Ok(())
    }

    async fn before_load(_: &Context) -> Result<(), Error> {
        passed("before_load", None)
    }

    async fn after_load(_: &Context) -> Result<(), Error> {
        passed("after_load", None)
    }

    async fn before_initialize(_: &Context) -> Result<(), Error> {
        passed("before_initialize", None)
    }

    async fn after_initialize(&self, _: &Context) -> Result<(), Error> {
        passed("after_initialize", Some(&self.config))
    }

    async fn before_start(&self, _: &Context) -> Result<(), Error> {
        passed("before_start", Some(&self.config))
    }

    async fn after_start(&self, _: &Context) -> Result<(), Error> {
        passed("after_start", Some(&self.config))
    }

    async fn before_stop(&self, _: &Context) -> Result<(), Error> {
        passed("before_stop", Some(&self.config))
    }

    async fn after_stop(&self, _: &Context) -> Result<(), Error> {
        passed("after_stop", Some(&self.config))
    }

    async fn on_error(error: &str, _: &Context) {
        tracing::info!(hook = "on_error", error, "hook");
    }
}

/// Tells of a hook of the SDK, which fails where the configuration says so.
fn passed(hook: &str, config: Option<&Config>) -> Result<(), Error> {
    tracing::info!(hook, "hook");
    match config.and_then(|config| config.fail_hook.as_deref()) {
        Some(failing) if failing == hook => Err("as configured".into()),
        _ => Ok(()),
    }
}

impl Testbed {
    /// What its newest configuration says.
    pub fn note(&self) -> Option<String> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many configurations it has taken while it runs.
    pub fn reloads(&self) -> u32 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// A hook of some plugin has called.
    pub fn called(&self, hook: String) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    /// The hooks that have called, in their order.
    pub fn calls(&self) -> Vec<String> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the plugin is unhealthy with this message, or healthy.
    pub fn set_unhealthy(&self, message: Option<String>) {
        *self.unhealthy.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

async fn pause(delay: Option<Duration>) {
    if let Some(delay) = delay {
        sleep(delay).await;
    }
}
