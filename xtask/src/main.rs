//! The project's own commands. `cargo xtask --help` lists them.

#[cfg(test)]
mod alerts;
mod bench;
mod check_deps;
mod cluster;
mod codegen;
mod demo;
mod exec;
mod gitops;
mod go;
mod images;
mod machine;
mod metadata;
mod paths;
mod progress;
mod pypi;
mod release;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Forward's own commands: see it work, test it, generate what is generated.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    CheckDeps(check_deps::Args),
    Cluster(cluster::Args),
    Codegen(codegen::Args),
    Demo(demo::Args),
    Images(images::Args),
    Test(suite::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::CheckDeps(args) => check_deps::run(&args),
        Command::Cluster(args) => cluster::run(args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Images(args) => images::run(&args),
        Command::Test(args) => suite::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
