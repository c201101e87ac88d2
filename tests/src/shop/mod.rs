//! The shop of the examples in a namespace of a test's own, under a host name of its own, so that
//! several of them share one gateway.

mod books;
mod orders;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
pub use books::Books;
use forward_crds::Plugin;
use http::Request;
pub use orders::{Orders, Tally};
use serde_json::{Value, json};

use crate::{Answer, FIELD_MANAGER, Gateway, TestNamespace, gateway::Body, seconds, started};

/// The shop's plugins, those first that others need.
pub const PLUGINS: [&str; 5] =
    ["payment-processor", "inventory-manager", "analytics-tracker", "order-processing", "static-site"];

/// How long the whole shop may take to come up on a busy machine.
const UP: Duration = seconds(150);

/// The shop of one namespace.
pub struct Shop<'a> {
    /// Where it is.
    pub ns: &'a TestNamespace,
    gateway: Gateway,
    /// The host name that its routes are served under.
    pub host: String,
}

impl<'a> Shop<'a> {
    /// A shop of which nothing is applied yet but the host name of its namespace.
    pub async fn prepare(ns: &'a TestNamespace) -> Result<Self> {
        let host = format!("{}.test", ns.name);
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {"hosts": [host]},
        });
        ns.apply_as(FIELD_MANAGER, &system).await?;
        Ok(Self { ns, gateway: ns.cluster.gateway()?, host })
    }

    /// A shop that is open.
    pub async fn open(ns: &'a TestNamespace) -> Result<Self> {
        let shop = Self::prepare(ns).await?;
        for manifest in manifests()? {
            ns.apply_as(FIELD_MANAGER, &manifest).await?;
        }
        shop.await_open().await?;
        Ok(shop)
    }

    /// Wait until all its plugins are ready and the gateway serves them.
    pub async fn await_open(&self) -> Result<()> {
        for name in PLUGINS {
            self.ns.await_plugin(name, "to be ready", UP, started).await?;
        }
        for path in ["/", "/api/orders", "/api/payments", "/api/inventory/items", "/api/analytics/dashboard"]
        {
            self.await_served(path).await?;
        }
        Ok(())
    }

    async fn await_served(&self, path: &str) -> Result<()> {
        crate::await_until(&format!("GET {path} to be served"), seconds(20), async || {
            let answer = self.get(path).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
            Ok(())
        })
        .await
    }

    /// A way to send requests from tasks of their own.
    pub fn counter(&self) -> Counter {
        Counter { gateway: self.gateway.clone(), host: self.host.clone() }
    }

    /// GET a path of the shop.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.counter().send("GET", path, &[], None).await
    }

    /// Change one plugin's spec by a merge patch.
    pub async fn patch(&self, plugin: &str, spec: Value) -> Result<Plugin> {
        self.ns.patch_plugin(plugin, json!({"spec": spec})).await
    }

    /// What the shop's plugins have written down, all of it.
    pub async fn books(&self) -> Result<Books> {
        Books::read(&self.counter()).await
    }
}

/// Where the shop is asked, without the namespace that it is in.
#[derive(Clone)]
pub struct Counter {
    gateway: Gateway,
    host: String,
}

impl Counter {
    /// Send a request, with a body of JSON if there is one.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        self.gateway.send(request.body(Body::from(body))?).await
    }

    /// All elements of a list, page by page.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let answer = self.send("GET", &format!("{path}?limit=200{after}"), &[], None).await?;
            ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.text());
            let page: Value = answer.json()?;
            found.extend(page["items"].as_array().context("a list")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(found),
            }
        }
    }
}

/// Run a program in an example's folder; gives what it prints.
pub fn in_example(example: &str, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(examples().join(example)).output();
    let output = output.with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {said}", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the examples are.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Every object of the shop, as the directory of manifests has them.
pub fn manifests() -> Result<Vec<Value>> {
    let folder = examples().join("shop/plugins");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|file| Ok(file?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        objects.extend(crate::namespace::documents(&text)?);
    }
    Ok(objects)
}
