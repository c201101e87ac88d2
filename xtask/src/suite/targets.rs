//! Which tests there are besides those within the programs and libraries. Whatever is run, all of the workspace
//! is named and the tests are chosen by their own names: what features dependencies have follows from what is
//! named, and with each other choice of packages most of them would be built anew.

use anyhow::Result;

use crate::metadata::{Package, packages};

/// A file of tests, or a folder of them, that is a program of its own.
pub(super) struct Target {
    pub package: String,
    pub name: String,
}

/// All of them.
pub(super) fn targets() -> Result<Vec<Target>> {
    let of = |package: Package| {
        let tests = package.targets.into_iter().filter(|target| target.kind == ["test"]);
        tests.map(move |target| Target { package: package.name.clone(), name: target.name })
    };
    Ok(packages()?.into_iter().flat_map(of).collect())
}

/// How cargo is told to build or run those of a choice.
pub(super) fn chosen<'a>(
    targets: &'a [Target],
    is_chosen: impl Fn(&Target) -> bool + 'a,
) -> impl Iterator<Item = &'a str> {
    let names = targets.iter().filter(move |target| is_chosen(target)).map(|target| target.name.as_str());
    ["--workspace"].into_iter().chain(names.flat_map(|name| ["--test", name]))
}
