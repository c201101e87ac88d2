//! What the documentation shows is true: manifests are accepted, code is the code of the
//! examples, links lead somewhere.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use forward_crds::{Plugin, PluginSystem};
use forward_tests::{TestNamespace, run};
use kube::{
    Resource,
    api::{Patch, PatchParams, ValidationDirective},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
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
                for object in serde_saphyr::from_multiple::<Value>(block)? {
                    let accepted = match object["kind"].as_str() {
                        Some("Plugin") => accept::<Plugin>(ns, object).await,
                        Some("PluginSystem") => accept::<PluginSystem>(ns, object).await,
                        _ => continue,
                    };
                    accepted.with_context(|| path.display().to_string())?;
                    count += 1;
                }
            }
        }
        ensure!(count > 2, "only {count} manifests found");
        Ok(())
    })
    .await;
}

/// Have the API server judge an object with strict field validation, without storing it.
async fn accept<K>(ns: &TestNamespace, mut object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let name = object["metadata"]["name"].as_str().context("a name")?.to_owned();
    object["metadata"]["namespace"] = ns.name.clone().into();
    let mut params = PatchParams::apply("docs").validation(ValidationDirective::Strict);
    params.dry_run = true;
    ns.api::<K>().patch(&name, &params, &Patch::Apply(&object)).await.context(name)?;
    Ok(())
}

/// A test is named as `path/to/file.rs: its_name`.
#[test]
fn names_tests_that_there_are() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/threat-model.md"))?;
    let spans = page.split('`').skip(1).step_by(2);
    let named: Vec<_> = spans.filter_map(|span| span.split_once(".rs: ")).collect();
    ensure!(named.len() > 20, "only {} tests are named", named.len());
    for (file, test) in named {
        let file = root().join(format!("{file}.rs"));
        let code = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        ensure!(code.contains(&format!("fn {test}(")), "{} has no test {test}", file.display());
    }
    Ok(())
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
