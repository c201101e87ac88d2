//! The verbs of a plugin.

use std::future::Future;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Context, Health, Routes};

/// Whatever went wrong. Every error type, `String` and `&str` turn into it by `?` or `into()`.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A plugin. The verbs come in this order: [`initialize`](Self::initialize), [`routes`](Self::routes),
/// [`start`](Self::start), then requests, [`health`](Self::health) and [`reload`](Self::reload) at
/// any time, in the end [`stop`](Self::stop). Each of initialize, start and stop may take as long as `sandbox.timeout` of
/// the manifest says; one that fails, panics or takes longer ends the process, and what went wrong
/// shows in the status of the `Plugin`.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// The configuration, read from the manifest's `config` and `configFrom`. Whether fields that it
    /// does not know are refused is its own choice (`#[serde(deny_unknown_fields)]`).
    type Config: DeserializeOwned + Send;

    /// What the configuration must be like, as a schema of JSON Schema 2020-12: of a type of one's
    /// own with [`schema_of`](crate::schema_of). It is checked before the configuration is read. The
    /// gateway writes it into the plugin's status, so that a configuration that does not fit is held
    /// before a pod is started. Must be the same for the life of the program.
    fn config_schema() -> Option<Value> {
        None
    }

    /// Makes the plugin from its configuration. What the plugin needs before it can answer at all
    /// is set up here.
    fn initialize(
        config: Self::Config,
        context: &Context,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// The routes that the plugin offers. Called once, after initialize.
    fn routes(&self) -> Routes<Self> {
        Routes::new()
    }

    /// The last step before requests come.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn start(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// How the plugin fares. Asked every few seconds, so it should be quick (2 s, if the manifest
    /// does not say otherwise).
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::healthy() }
    }

    /// Takes a new configuration while the plugin runs, where the manifest says `reload: InPlace`.
    /// With an error the plugin goes on with the configuration that it has, so it should change
    /// nothing before it is sure; the error shows in the status of the `Plugin`. May take as long as
    /// `sandbox.timeout`. Routes stay as they are.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn reload(
        &self,
        config: Self::Config,
        context: &Context,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async { Err("this plugin takes no configuration while it runs; set reload: Rolling".into()) }
    }

    /// Called once the last request has been answered and before the process ends.
    fn stop(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// The configuration of a plugin that has nothing to configure. Any field is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
