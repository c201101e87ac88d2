//! Files that are generated and committed: the CRDs' YAML, in `crds/` and again in the chart
//! (a chart can only read its own files), and the contract's Rust code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Where the CRDs' YAML goes.
const CRD_FOLDERS: [&str; 2] = ["crds/yaml", "charts/goforward/files/crds"];

/// Write the generated files: the CRDs' YAML and the contract's Rust code.
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail when a file is not what would be written.
    #[arg(long)]
    pub check: bool,
}

/// A file's path below the repository and what it should hold.
struct Generated {
    path: PathBuf,
    content: String,
}

pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository's folder")?;
    let mut files = vec![contract(root)?];
    for definition in forward_crds::definitions() {
        for folder in CRD_FOLDERS {
            files.push(crd(folder, &definition)?);
        }
    }
    let stale: Vec<_> = files
        .iter()
        .filter(|file| fs::read_to_string(root.join(&file.path)).ok().as_ref() != Some(&file.content))
        .collect();
    if args.check {
        let names: Vec<_> = stale.iter().map(|file| file.path.display().to_string()).collect();
        if !names.is_empty() {
            bail!("not what their sources say: {}; run `cargo xtask codegen` and commit", names.join(", "));
        }
        return Ok(());
    }
    for Generated { path, content } in stale {
        let target = root.join(path);
        fs::create_dir_all(target.parent().context("a folder")?)?;
        fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn crd(folder: &str, crd: &CustomResourceDefinition) -> Result<Generated> {
    let yaml = serde_saphyr::to_string(crd)?;
    Ok(Generated {
        path: format!("{folder}/{}.{}.yaml", crd.spec.group, crd.spec.names.plural).into(),
        content: format!("# Generated from crds/src by `cargo xtask codegen`.\n{yaml}"),
    })
}

fn contract(root: &Path) -> Result<Generated> {
    let descriptors = protox::compile(
        ["goforward/plugin/v1/plugin.proto", "goforward/plugin/v1/middleware.proto"],
        [root.join("proto")],
    )?;
    let scratch = root.join("target/codegen");
    fs::create_dir_all(&scratch)?;
    tonic_prost_build::configure().out_dir(&scratch).btree_map(".").compile_fds(descriptors)?;
    let path = PathBuf::from("goforward.plugin.v1.rs");
    Ok(Generated {
        content: fs::read_to_string(scratch.join(&path))?,
        path: Path::new("proto/src/generated").join(path),
    })
}
