//! `forward-gateway`: registers what plugins offer and carries the traffic.

use std::process::ExitCode;

use clap::Parser;
use forward_gateway::{config::Args, run::run};

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "gateway failed");
            ExitCode::FAILURE
        }
    }
}
