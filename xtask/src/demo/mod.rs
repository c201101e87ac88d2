//! `cargo xtask demo`: the whole product at work, from nothing to an answered request.

mod place;
mod request;
mod show;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result};

use self::place::Place;
use crate::{
    exec,
    images::{self, REGISTRY},
    paths,
    progress::{Step, elapsed},
    release::{self, Target},
};

/// See it work: a cluster, Forward on it, the examples, a request and its answer.
#[derive(clap::Args)]
pub struct Args {
    /// Use your own cluster instead of one made here: a context of your kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// Where your cluster pulls images from, as in `registry.example/forward`; kind needs none.
    #[arg(long, requires = "context")]
    push: Option<String>,
    /// Remove everything that the demo made.
    #[arg(long, conflicts_with = "push")]
    down: bool,
}

pub fn run(args: Args) -> Result<()> {
    let place = Place::new(args.context, args.push)?;
    if args.down {
        return place.take_down();
    }
    let started = Instant::now();
    place.check()?;
    let published: Vec<_> = images::IMAGES.iter().filter(|image| image.published).collect();
    let built = images::build(&published, "image")?;
    place.prepare(&built)?;
    let target = place.target();
    release::install(&target, &[place.settings(), release::rolls_with(&built)].concat())?;
    let applied = apply_examples(&target, place.registry())?;
    show::await_ready(&target, applied)?;
    println!(
        "\n$ kubectl get plugins\n{}",
        exec::output(target.kubectl().args(["get", "plugins"]))?.trim_end()
    );
    place.ask_gateway(request::PATHS)?;
    println!("\nDone in {}. To go on:\n{}", elapsed(started.elapsed()), place.how_to_go_on());
    Ok(())
}

/// Applies all manifests of the examples at once: their order is Forward's business.
/// Gives how many plugins there are.
fn apply_examples(target: &Target, registry: &str) -> Result<usize> {
    let step = Step::begin("applying the examples");
    let all = examples()?.replace(&format!("{REGISTRY}/"), &format!("{registry}/"));
    let said =
        exec::feed(target.kubectl().args(["apply", "--server-side", "--filename=-", "--output=name"]), &all)?;
    step.done();
    Ok(said.lines().filter(|line| line.starts_with("plugin.goforward.dev/")).count())
}

/// Takes the examples off a cluster; they may be gone, and the API with them.
fn delete_examples(target: &Target) -> Result<()> {
    if !release::has_api(target)? {
        return Ok(());
    }
    let step = Step::begin("deleting the examples");
    let arguments = ["delete", "--ignore-not-found", "--timeout=120s", "--filename=-"];
    exec::feed(target.kubectl().args(arguments), &examples()?)?;
    step.done();
    Ok(())
}

/// The manifests of all examples.
fn examples() -> Result<String> {
    let mut manifests = Vec::new();
    for path in example_manifests()? {
        manifests.push(fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(manifests.join("\n---\n"))
}

fn example_manifests() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for example in fs::read_dir(paths::repository().join("examples"))? {
        let example = example?.path();
        // What examples share lies beside them.
        if !example.is_dir() {
            continue;
        }
        for file in fs::read_dir(example)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
