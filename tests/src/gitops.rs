//! What tools of the field make of an object, in each version that it ever had.

use std::{path::Path, pin::pin, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use futures::StreamExt;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject},
    runtime::watcher::{self, Event, watcher},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, sync::oneshot, task::JoinHandle, time::timeout};

use crate::{TestNamespace, cluster::variable};

/// What is made of one version of an object.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Verdict {
    /// InProgress, Current, Failed or Terminating: what Flux and Helm go by.
    pub kstatus: Said,
    /// Progressing, Healthy, Degraded or Suspended: what Argo CD shows.
    pub argo: Said,
}

/// One tool's word, and what it adds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Said {
    /// The word.
    pub status: String,
    /// What it adds.
    pub message: String,
}

/// Ask kstatus and Argo CD's health check about objects; the answers come in the same order.
pub async fn verdicts(objects: &[Value]) -> Result<Vec<Verdict>> {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/argocd/health.yaml");
    let program = variable("FORWARD_GITOPS")?;
    let mut child = Command::new(&program)
        .arg(check)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let mut input = child.stdin.take().context("it was piped")?;
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let write = async move { input.write_all(lines.as_bytes()).await };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    written?;
    let answers = String::from_utf8(output.stdout)?;
    let verdicts = answers.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>()?;
    ensure!(verdicts.len() == objects.len(), "{} answers to {} objects", verdicts.len(), objects.len());
    Ok(verdicts)
}

/// Every version of a plugin from before it is made until it is gone.
pub struct History {
    seen: JoinHandle<Result<Vec<Value>>>,
}

impl History {
    /// Begin to watch a plugin that is not there yet.
    pub async fn begin(ns: &TestNamespace, name: &str) -> Result<Self> {
        let resource = ApiResource::erase::<Plugin>(&());
        let api = Api::namespaced_with(ns.cluster.client.clone(), &ns.name, &resource);
        let (begun, is_begun) = oneshot::channel();
        let seen = tokio::spawn(record(api, name.to_owned(), begun));
        is_begun.await.with_context(|| format!("watch plugin {name}"))?;
        Ok(Self { seen })
    }

    /// All versions, once the plugin is gone.
    pub async fn end(self, bound: Duration) -> Result<Vec<Value>> {
        timeout(bound, self.seen).await.context("wait for the end of what is watched")??
    }
}

async fn record(api: Api<DynamicObject>, name: String, begun: oneshot::Sender<()>) -> Result<Vec<Value>> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(api, config));
    let (mut begun, mut versions) = (Some(begun), Vec::new());
    while let Some(event) = events.next().await {
        match event.context("watch")? {
            Event::Init => ensure!(begun.is_some(), "the watch was interrupted: versions may be missing"),
            Event::InitApply(_) => ensure!(false, "plugin {name} is there already"),
            Event::InitDone => {
                if let Some(begun) = begun.take() {
                    // Nobody waits any more where the test has failed meanwhile.
                    begun.send(()).ok();
                }
            }
            Event::Apply(object) => versions.push(whole(object)?),
            Event::Delete(object) => {
                versions.push(whole(object)?);
                return Ok(versions);
            }
        }
    }
    anyhow::bail!("the watch of plugin {name} ended")
}

/// An object as JSON with its kind, which not every event says.
fn whole(object: DynamicObject) -> Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = Plugin::api_version(&()).into();
    value["kind"] = Plugin::kind(&()).into();
    Ok(value)
}
