//! Wires a plugin's process together.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::{
    About, Plugin,
    environment::Environment,
    failure::{Failure, chain},
    lifecycle, log, panics, termination,
};

/// Runs a plugin until the end of its life; [`main!`](crate::main) makes it a program's `main`.
pub fn run<P: Plugin>(about: About) -> ExitCode {
    let environment = Environment::resolve(&about, std::env::vars_os());
    log::install(environment.as_ref().map_or_else(|_| about.name.to_owned(), Environment::plugin));
    panics::log_panics();
    match environment.map_err(Failure::from).and_then(|environment| live::<P>(about, environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = chain(&failure);
            tracing::error!(error = message, "the plugin failed");
            termination::leave(&message);
            ExitCode::FAILURE
        }
    }
}

fn live<P: Plugin>(about: About, environment: Environment) -> Result<(), Failure> {
    let runtime: Runtime = Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    let life = panics::catch(lifecycle::live::<P>(about, environment));
    let result = runtime.block_on(life).map_err(Failure::Panic).flatten();
    // Dropping it would wait for code that blocks its thread.
    runtime.shutdown_background();
    result
}
