//! Images without Docker: our own programs, made static, and those of Debian that examples need,
//! in archives that any container runtime loads.

mod choose;
pub mod debian;
mod libraries;
mod list;
pub mod oci;

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub use self::list::{IMAGES, REGISTRY};
use self::{
    choose::Entries,
    list::{Content, Source},
    oci::{Entry, Image},
};
use crate::{exec, paths, progress::Step};

/// Build the images as archives in target/images.
#[derive(clap::Args)]
pub struct Args {
    /// Only these, by the last part of their name; all if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(IMAGES.iter().map(|image| image.name)))]
    names: Vec<String>,
    /// Optimise harder and take three times as long, as for a release.
    #[arg(long)]
    dist: bool,
}

/// An image as it was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The last part of its name.
    pub name: &'static str,
    pub reference: String,
    pub archive: PathBuf,
    pub digest: String,
}

/// Built images have this and no other user.
const USER: u32 = 65532;

pub fn run(args: &Args) -> Result<()> {
    let chosen: Vec<_> = IMAGES
        .iter()
        .filter(|image| args.names.is_empty() || args.names.iter().any(|name| name == image.name))
        .collect();
    for Built { reference, archive, digest, .. } in build(&chosen, if args.dist { "dist" } else { "image" })?
    {
        println!("{reference}  {digest}  {}", archive.display());
    }
    Ok(())
}

/// Builds the archives of some images.
pub fn build(images: &[&Source], profile: &str) -> Result<Vec<Built>> {
    let packages: BTreeSet<_> = images
        .iter()
        .filter_map(|image| match image.content {
            Content::Package(package) => Some(package),
            Content::Debian(_) => None,
        })
        .collect();
    let programs = compile(&packages, profile)?;
    let contents: Vec<_> = images.iter().map(|source| content(source, &programs)).collect::<Result<_>>()?;
    let step = Step::begin(format!("writing {} images", images.len()));
    let mut written = Vec::new();
    for (source, (entries, entrypoint)) in images.iter().zip(contents) {
        for tag in source.tags {
            step.detail(format!("{}:{tag}", source.name));
            let image = Image {
                reference: source.reference(tag),
                entries: entries.clone(),
                entrypoint: entrypoint.clone(),
                user: USER,
            };
            let archive = source.archive(tag);
            let digest = oci::write(&image, &archive)?;
            written.push(Built { name: source.name, reference: image.reference, archive, digest });
        }
    }
    step.done();
    Ok(written)
}

/// An image's files, and the program that runs with its arguments.
fn content(source: &Source, programs: &Path) -> Result<(Entries, Vec<String>)> {
    match &source.content {
        Content::Package(package) => {
            let program = Entry::File(programs.join(package));
            Ok(([((*package).to_owned(), program)].into(), vec![format!("/{package}")]))
        }
        Content::Debian(from) => {
            let entries = choose::collect(from)
                .with_context(|| format!("collect the files of the image {}", source.name))?;
            Ok((entries, from.command.iter().map(|word| (*word).to_owned()).collect()))
        }
    }
}

/// Compiles packages as static programs, as images hold them; gives the folder they are in.
pub fn compile(packages: &BTreeSet<&str>, profile: &str) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    if !packages.is_empty() {
        let names: Vec<_> = packages.iter().copied().collect();
        let step = Step::begin(format!("compiling {}", names.join(", ")));
        let mut cargo = exec::cargo();
        cargo
            .args(["build", "--profile", profile, "--target", &triple])
            .args(packages.iter().flat_map(|package| ["--package", package]))
            // Only with a target named are the flags kept from build scripts and macros,
            // which cannot be static.
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        exec::watch(&mut cargo, |line| step.detail(line.trim()))?;
        step.done();
    }
    Ok(paths::target().join(triple).join(profile))
}
