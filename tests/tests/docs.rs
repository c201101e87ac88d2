//! What the documentation shows is true: manifests are accepted, code is the code of the
//! examples, links lead somewhere.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use forward_crds::Plugin;
use forward_tests::run;
use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages: of the repository's root, of `docs/` and of the examples.
fn pages() -> Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    let mut folders = vec![root(), root().join("docs"), root().join("docs/adr")];
    for example in fs::read_dir(root().join("examples"))? {
        let path = example?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    for folder in folders {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "md") {
                pages.insert(path.clone(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(pages)
}

/// The fenced blocks of a page in a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[tokio::test]
async fn shows_manifests_that_are_accepted() {
    run("docs_manifests", async |ns| {
        let mut count = 0;
        for (path, page) in pages()? {
            for block in
                blocks(&page, "yaml").into_iter().filter(|block| block.contains("goforward.dev/v1alpha1"))
            {
                for object in
                    serde_saphyr::from_multiple::<Value>(block)?.iter().filter(|one| one["kind"] == "Plugin")
                {
                    let name = object["metadata"]["name"].as_str().context("a name")?;
                    let mut object = object.clone();
                    object["metadata"]["namespace"] = ns.name.clone().into();
                    let mut params = PatchParams::apply("docs").validation(ValidationDirective::Strict);
                    params.dry_run = true;
                    ns.api::<Plugin>()
                        .patch(name, &params, &Patch::Apply(&object))
                        .await
                        .with_context(|| format!("{}: {name}", path.display()))?;
                    count += 1;
                }
            }
        }
        ensure!(count > 2, "only {count} manifests found");
        Ok(())
    })
    .await;
}

#[test]
fn shows_the_first_plugin_as_it_is() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let code = fs::read_to_string(root().join("examples/hello/src/main.rs"))?;
    let shown = code.split("\n#[cfg(test)]").next().context("code")?;
    ensure!(blocks(&readme, "rust") == [shown], "README.md shows another program than examples/hello");
    ensure!(shown.lines().count() <= 25, "the first plugin has grown to {} lines", shown.lines().count());
    let manifest = fs::read_to_string(root().join("examples/hello/plugin.yaml"))?;
    ensure!(blocks(&readme, "yaml") == [manifest], "README.md shows another manifest than examples/hello");
    Ok(())
}

#[test]
fn links_to_what_is_there() -> Result<()> {
    let mut dead = Vec::new();
    for (path, page) in pages()? {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let here = path.parent().context("a folder")?;
            if !file.is_empty() && !file.contains("://") && !here.join(file).exists() {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    if !dead.is_empty() {
        bail!("links that lead nowhere:\n{}", dead.join("\n"));
    }
    Ok(())
}
