//! What a failing test leaves: the objects and events of its namespace, the logs of its pods and
//! of the operator and the gateway, and the failure itself, each in a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, Discovery, ResourceExt,
    api::{DynamicObject, ListParams, LogParams},
    discovery::{Scope, verbs},
};

use crate::{SYSTEM_NAMESPACE, TestNamespace, cluster::artifacts};

/// Lines of each container's log that are kept.
const LOG_LINES: i64 = 5_000;
/// Groups whose objects say the same again (events.k8s.io) or are no objects (metrics).
const REPEATING_GROUPS: [&str; 2] = ["events.k8s.io", "metrics.k8s.io"];

/// Write everything into a folder of the test's name, and give the folder. What can not be had
/// is named in the file `failure.txt`, so that a dump is never the reason to lose a failure.
pub async fn write(namespace: &TestNamespace, test: &str, failure: &str) -> PathBuf {
    let folder = artifacts().join(test);
    let client = &namespace.cluster.client;
    let mut report = format!("{failure}\n");
    for (what, outcome) in [
        ("empty the folder", fresh(&folder)),
        ("objects", objects(client, &namespace.name, &folder).await),
        ("events", events(client, &namespace.name, &folder).await),
        ("logs", logs(client, &namespace.name, &folder).await),
        ("logs of the system", logs(client, SYSTEM_NAMESPACE, &folder.join(SYSTEM_NAMESPACE)).await),
        ("events of the system", events(client, SYSTEM_NAMESPACE, &folder.join(SYSTEM_NAMESPACE)).await),
    ] {
        if let Err(error) = outcome {
            report += &format!("\ncould not dump: {what}: {error:#}");
        }
    }
    if let Err(error) = fs::write(folder.join("failure.txt"), &report) {
        panic!("{report}\nand the folder could not be written: {error}");
    }
    folder
}

fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.join(SYSTEM_NAMESPACE))?;
    Ok(())
}

/// A YAML file for each kind of which the namespace has an object. Secrets stay where they are.
async fn objects(client: &Client, namespace: &str, folder: &Path) -> Result<()> {
    let discovery = Discovery::new(client.clone()).run().await.context("discover the kinds")?;
    for group in discovery.groups().filter(|group| !REPEATING_GROUPS.contains(&group.name())) {
        for (resource, capabilities) in group.recommended_resources() {
            let plain = !["Secret", "Event"].contains(&resource.kind.as_str());
            if capabilities.scope != Scope::Namespaced
                || !capabilities.supports_operation(verbs::LIST)
                || !plain
            {
                continue;
            }
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
            let mut list =
                api.list(&ListParams::default()).await.with_context(|| resource.kind.clone())?.items;
            list.iter_mut().for_each(|object| object.managed_fields_mut().clear());
            if !list.is_empty() {
                let file = folder.join(format!("{}.yaml", resource.plural));
                fs::write(file, serde_saphyr::to_string(&list)?)?;
            }
        }
    }
    Ok(())
}

/// The events, oldest first, a line each.
async fn events(client: &Client, namespace: &str, folder: &Path) -> Result<()> {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let mut events = api.list(&ListParams::default()).await?.items;
    events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
    let mut text = String::new();
    for event in events {
        let at = event.metadata.creation_timestamp.map_or_else(String::new, |at| at.0.to_string());
        let object = &event.involved_object;
        text += &format!(
            "{at} {} {}/{} {}: {}\n",
            event.type_.unwrap_or_default(),
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default(),
        );
    }
    Ok(fs::write(folder.join("events.txt"), text)?)
}

/// A file for each container, and one more for its run before the last.
async fn logs(client: &Client, namespace: &str, folder: &Path) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    for pod in api.list(&ListParams::default()).await?.items {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        for container in statuses.unwrap_or_default() {
            for previous in [false, true] {
                if previous && container.restart_count == 0 {
                    continue;
                }
                let params = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    tail_lines: Some(LOG_LINES),
                    timestamps: true,
                    ..LogParams::default()
                };
                let name = pod.name_any();
                let text = match api.logs(&name, &params).await {
                    Ok(text) => text,
                    Err(error) => format!("no log: {error}\n"),
                };
                let ending = if previous { ".previous.log" } else { ".log" };
                fs::write(folder.join(format!("{name}.{}{ending}", container.name)), text)?;
            }
        }
    }
    Ok(())
}
