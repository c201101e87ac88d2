//! Which of our packages may know which: the layers of the design, checked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::{
    exec,
    metadata::{Package, packages},
};

/// What a package may depend on, of our own. A package that is not here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("forward-config", &[]),
    ("forward-crds", &[]),
    ("forward-proto", &[]),
    ("forward-plan", &["forward-config", "forward-crds"]),
    ("forward-operator", &["forward-crds", "forward-plan", "forward-proto"]),
    ("forward-gateway", &["forward-crds", "forward-plan", "forward-proto"]),
    ("forward-sdk", &["forward-config", "forward-proto"]),
    ("forward-tests", &["example-testing", "forward-crds", "forward-plan", "forward-proto"]),
    ("forward-bench", &["forward-crds"]),
    ("forward-faults", &["forward-crds", "forward-tests"]),
    ("hello", &["example-testing", "forward-sdk"]),
    ("relay", &["example-testing", "forward-sdk"]),
    // Takes the gateway's side of the contract.
    ("example-testing", &["forward-proto"]),
    ("example-database", &["example-testing", "forward-sdk"]),
    ("payment-processor", EXAMPLE),
    ("inventory-manager", EXAMPLE),
    ("analytics-tracker", EXAMPLE),
    ("order-processing", EXAMPLE),
    // Its tests take the gateway's side of the contract.
    ("testbed", &["forward-proto", "forward-sdk"]),
    ("xtask", &["forward-crds"]),
];

/// What an example with a database may know.
const EXAMPLE: &[&str] = &["example-database", "example-testing", "forward-sdk"];

/// The package that only computes, and what would let it do more.
const PURE: &str = "forward-plan";
const IMPURE: [&str; 5] = ["hyper", "kube-client", "kube-runtime", "reqwest", "tokio"];

/// Fail when a package depends on one that its layer may not know.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<()> {
    let tree = exec::output(exec::cargo().args([
        "--quiet",
        "--locked",
        "tree",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        PURE,
    ]))?;
    let mut wrong = forbidden(&edges(packages()?));
    wrong.extend(impure(&tree));
    if !wrong.is_empty() {
        bail!("packages know what they must not:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// For each of our packages, which others of ours it depends on.
fn edges(packages: Vec<Package>) -> BTreeMap<String, BTreeSet<String>> {
    let ours = |package: Package| {
        let dependencies = package.dependencies.into_iter().filter(|one| one.path.is_some());
        (package.name, dependencies.map(|one| one.name).collect())
    };
    packages.into_iter().map(ours).collect()
}

fn forbidden(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, dependencies) in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == package) else {
            wrong.push(format!(
                "{package} has no place in the layers: give it one in xtask/src/check_deps.rs"
            ));
            continue;
        };
        for dependency in dependencies.iter().filter(|name| !allowed.contains(&name.as_str())) {
            let list = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
            wrong.push(format!("{package} depends on {dependency}; it may depend on {list}"));
        }
    }
    wrong
}

/// What [`PURE`] reaches that it must not, in the lines of `cargo tree`.
fn impure(tree: &str) -> Vec<String> {
    let reached: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let found = IMPURE.iter().filter(|name| reached.contains(*name));
    found.map(|name| format!("{PURE} reaches {name}: it must compute only")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(package: &str, dependency: &str) -> BTreeMap<String, BTreeSet<String>> {
        BTreeMap::from([(package.to_owned(), BTreeSet::from([dependency.to_owned()]))])
    }

    #[test]
    fn lets_layers_know_those_below() {
        assert_eq!(forbidden(&edge("forward-operator", "forward-plan")), [""; 0]);
    }

    #[test]
    fn names_an_edge_that_is_not_allowed_and_what_is() {
        let wrong = forbidden(&edge("forward-operator", "forward-gateway"));
        assert!(wrong[0].starts_with("forward-operator depends on forward-gateway; it may"), "{wrong:?}");
        let wrong = forbidden(&edge("forward-crds", "forward-plan"));
        assert!(wrong[0].ends_with("nothing of ours"), "{wrong:?}");
    }

    #[test]
    fn asks_for_a_place_for_a_new_package() {
        assert!(forbidden(&edge("forward-new", "forward-crds"))[0].contains("no place"));
    }

    #[test]
    fn finds_a_runtime_below_the_pure_package() {
        assert_eq!(impure("forward-plan v0.1.0 (/x)\nserde v1.0.0\n"), [""; 0]);
        assert_eq!(impure("forward-plan v0.1.0 (/x)\ntokio v1.0.0 (*)\n").len(), 1);
    }
}
