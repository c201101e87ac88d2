//! `cargo xtask demo`: the whole product at work, from nothing to an order in a shop.

mod order;
mod place;
mod request;
mod show;

use std::{fs, time::Instant};

use anyhow::{Context, Result};

use self::place::Place;
use crate::{
    exec,
    images::{self, REGISTRY},
    paths,
    progress::{Step, elapsed},
    release::{self, Target},
};

/// See it work: a cluster, Forward on it, the examples, requests and their answers.
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
    let gateway = place.gateway()?;
    for path in ["/hello/world", "/relay"] {
        println!("\n$ curl http://127.0.0.1:{}{path}", gateway.port);
        println!("{}", request::get(gateway.port, path)?.trim_end());
    }
    order::place(gateway.port)?;
    println!("\nDone in {}. To go on:\n{}", elapsed(started.elapsed()), place.how_to_go_on());
    Ok(())
}

/// Applies all manifests of the examples at once: their order is Forward's business.
/// Gives how many plugins there are.
fn apply_examples(target: &Target, registry: &str) -> Result<usize> {
    let step = Step::begin("applying the examples");
    let all = examples(target)?.replace(&format!("{REGISTRY}/"), &format!("{registry}/"));
    let said =
        exec::feed(target.kubectl().args(["apply", "--server-side", "--filename=-", "--output=name"]), &all)?;
    step.done();
    Ok(said.lines().filter(|line| line.starts_with("plugin.goforward.dev/")).count())
}

/// Takes the examples off a cluster; they may be gone, and the API with them.
fn delete_examples(target: &Target) -> Result<()> {
    let step = Step::begin("deleting the examples");
    let mut manifests = examples(target)?;
    if !release::has_api(target)? {
        manifests = without_plugins(&manifests);
    }
    let arguments = ["delete", "--ignore-not-found", "--timeout=120s", "--filename=-"];
    exec::feed(target.kubectl().args(arguments), &manifests)?;
    step.done();
    Ok(())
}

/// The manifests of all examples.
fn examples(target: &Target) -> Result<String> {
    let folder = paths::repository().join("examples");
    let mut manifests = Vec::new();
    for path in ["hello/plugin.yaml", "relay/plugins.yaml"] {
        manifests.push(fs::read_to_string(folder.join(path)).with_context(|| format!("read {path}"))?);
    }
    manifests.push(exec::output(target.kubectl().arg("kustomize").arg(folder.join("shop")))?);
    Ok(manifests.join("\n---\n"))
}

/// What a cluster that does not know Plugins can have of it.
fn without_plugins(manifests: &str) -> String {
    let others = manifests.split("\n---\n").filter(|one| !one.lines().any(|line| line == "kind: Plugin"));
    others.collect::<Vec<_>>().join("\n---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_no_plugin() {
        let all = "kind: Plugin\nmetadata: {}\n---\nkind: Secret\n---\nkind: Plugin\n---\nkind: Service\n";
        assert_eq!(without_plugins(all), "kind: Secret\n---\nkind: Service\n");
    }
}
