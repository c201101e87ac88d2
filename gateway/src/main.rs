//! `forward-gateway`: registers what plugins offer and carries the traffic.

use std::process::ExitCode;

use clap::Parser;
use forward_gateway::{config::Args, run::run};
use mimalloc::MiMalloc;

/// glibc's takes longer for each request, and keeps what many connections have had at once. Without huge
/// pages: with them, the process would be twice as large.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
