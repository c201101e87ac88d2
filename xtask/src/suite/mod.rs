//! `cargo xtask test`: everything that must hold, what is quick to fail first.

mod count;
mod onto_cluster;
mod targets;

use std::{
    process::{self, Command},
    time::Instant,
};

use anyhow::{Result, bail};

use self::{
    count::Count,
    onto_cluster::{STAGES, clear_artifacts},
    targets::{Target, chosen, targets},
};
use crate::{
    check_deps, codegen, exec,
    go::{ALERTMANAGER, H2SPEC},
    machine,
    progress::elapsed,
    pypi::{self, AUTOBAHN},
};

/// Run all checks and all tests, those on a real cluster included.
#[derive(clap::Args)]
pub struct Args {
    /// Only what needs no cluster.
    #[arg(long)]
    fast: bool,
    /// Leave the cluster running afterwards, to look at it.
    #[arg(long)]
    keep: bool,
    /// Only tests with this in their name, and no other checks.
    filter: Option<String>,
}

/// A run under way.
struct Suite {
    started: Instant,
    count: Count,
}

/// A step failed; what it was has been printed. Ends the run, as later steps build on earlier ones.
struct Failed;

pub fn run(args: &Args) -> Result<()> {
    // Better now than in ten minutes.
    machine::prepare_tests()?;
    if !args.fast {
        machine::prepare()?;
    }
    let mut suite = Suite { started: Instant::now(), count: Count::default() };
    let outcome = suite.all(args);
    println!("\n{}", suite.count);
    if outcome.is_err() || suite.count.failed > 0 {
        // The line above is the last word.
        process::exit(1);
    }
    Ok(())
}

impl Suite {
    fn all(&mut self, args: &Args) -> Result<(), Failed> {
        if args.filter.is_none() {
            self.checks()?;
        }
        let filter = args.filter.as_deref();
        let targets = self.must(targets())?;
        let is_pure = |target: &Target| STAGES.iter().all(|stage| stage.package != target.package);
        let pure: Vec<_> = chosen(&targets, is_pure).chain(["--lib", "--bins"]).collect();
        let h2spec = self.must(H2SPEC.ensure())?;
        let autobahn = self.must(pypi::fetch(&AUTOBAHN))?;
        let alertmanager = self.must(ALERTMANAGER.ensure())?;
        self.tests("tests without a cluster", &pure, filter, |cargo| {
            cargo
                .env("FORWARD_H2SPEC", h2spec)
                .env("FORWARD_AUTOBAHN", autobahn)
                .env("FORWARD_ALERTMANAGER", alertmanager)
        })?;
        self.tests("examples in docstrings", &["--workspace", "--doc"], filter, |cargo| cargo)?;
        if args.fast {
            return Ok(());
        }
        self.must(clear_artifacts())?;
        for stage in &STAGES {
            let wanted: Vec<_> = chosen(&targets, |target| target.package == stage.package).collect();
            if self.is_wanted(&wanted, filter)? {
                self.on_cluster(stage, &wanted, filter, args.keep)?;
            }
        }
        Ok(())
    }

    fn checks(&mut self) -> Result<(), Failed> {
        self.check("format", || cargo_quietly(&["fmt", "--all", "--check"]))?;
        self.check("generated files", || codegen::run(&codegen::Args { check: true }))?;
        self.check("who depends on whom", || check_deps::run(&check_deps::Args {}))?;
        self.check("lints", || {
            cargo_quietly(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
        })
    }

    /// Whether one of the tests is wanted: starting a cluster for nothing takes a while.
    fn is_wanted(&mut self, tests: &[&str], filter: Option<&str>) -> Result<bool, Failed> {
        let Some(filter) = filter else {
            return Ok(true);
        };
        let listed =
            exec::output(exec::cargo().args(["test", "--quiet"]).args(tests).args([filter, "--", "--list"]));
        Ok(self.must(listed)?.lines().any(|line| line.ends_with(": test")))
    }

    /// Says what comes next.
    fn heading(&self, name: &str) {
        println!("\n=== {name} ({} so far)", elapsed(self.started.elapsed()));
    }

    /// Something that holds or does not.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
        self.heading(name);
        let outcome = check();
        self.count.add(outcome.is_ok());
        self.must(outcome)
    }

    /// Something that later steps need.
    fn must<T>(&mut self, outcome: Result<T>) -> Result<T, Failed> {
        outcome.map_err(|error| {
            eprintln!("error: {error:#}");
            self.count.failed = self.count.failed.max(1);
            Failed
        })
    }

    fn tests(
        &mut self,
        name: &str,
        arguments: &[&str],
        filter: Option<&str>,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<(), Failed> {
        self.heading(name);
        let mut cargo = exec::cargo();
        // Failures name what they waited for and a folder with the rest; a stack says nothing more.
        cargo.args(["test", "--no-fail-fast"]).args(arguments).args(filter).env("RUST_BACKTRACE", "0");
        prepare(&mut cargo);
        let before = self.count;
        let succeeded = exec::tee(&mut cargo, |line| self.count.read(line));
        let succeeded = self.must(succeeded)?;
        if !succeeded && self.count.failed == before.failed {
            // Not a test: it did not compile, or died.
            self.count.add(false);
        }
        if succeeded { Ok(()) } else { Err(Failed) }
    }
}

fn cargo_quietly(arguments: &[&str]) -> Result<()> {
    if !exec::tee(exec::cargo().args(arguments), |_| {})? {
        bail!("cargo {} found something", arguments.join(" "));
    }
    Ok(())
}
