//! The verbs of a plugin.

use std::future::Future;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Context, Health, Middleware, Routes};

/// Whatever went wrong. Every error type, `String` and `&str` turn into it by `?` or `into()`.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A plugin. The verbs come in this order: [`initialize`](Self::initialize), [`routes`](Self::routes),
/// [`start`](Self::start), then requests, [`health`](Self::health) and [`reload`](Self::reload) at
/// any time, in the end [`stop`](Self::stop). Each of initialize, start and stop may take as long as `sandbox.timeout` of
/// the manifest says; one that fails, panics or takes longer ends the process, and what went wrong
/// shows in the status of the `Plugin`.
///
/// Around them come hooks, which do nothing where they are not written:
/// [`before_load`](Self::before_load), the configuration is read, [`after_load`](Self::after_load),
/// [`before_initialize`](Self::before_initialize), initialize,
/// [`after_initialize`](Self::after_initialize), [`before_start`](Self::before_start), start,
/// [`after_start`](Self::after_start), and in the end [`before_stop`](Self::before_stop), stop,
/// [`after_stop`](Self::after_stop). Each may take as long as a verb, and one that fails is a failure of
/// the step that it belongs to. They run in every pod, each time that a process begins or ends; what is
/// to be done once for the plugin as a whole belongs into `spec.hooks` of its manifest.
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

    /// What the gateway is to ask the plugin about requests. Called once, after initialize.
    fn middleware(&self) -> Middleware<Self> {
        Middleware::new()
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

    /// Before the configuration is read.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn before_load(context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Once the configuration has been read.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn after_load(context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Before initialize, and after the operator has let the process go on to it.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn before_initialize(context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Once initialize has succeeded.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn after_initialize(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Before start, and after the operator has let the process go on to it.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn before_start(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Once start has succeeded, and before the first request.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn after_start(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Once the last request has been answered. Whatever comes of it, stop follows.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn before_stop(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// The last thing before the process ends, whatever came of stop.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn after_stop(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// The process ends because something failed: a verb, a hook, the configuration. What went wrong is
    /// in `error`, as it will stand in the status of the `Plugin`; nothing can be done about that here.
    #[expect(unused_variables, reason = "its name is part of the documentation")]
    fn on_error(error: &str, context: &Context) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The configuration of a plugin that has nothing to configure. Any field is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
