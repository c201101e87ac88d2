//! `forward-operator release`: lets go of every plugin when the operator is uninstalled.

use anyhow::{Context, Result};
use forward_crds::{Plugin, PluginSystem};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::finalizer;

/// Objects a list call brings at once.
const PAGE: u32 = 500;

pub async fn run(client: Client, delete_crds: bool) -> Result<()> {
    if delete_crds {
        delete_definitions(&client).await?;
    }
    let all = Api::<Plugin>::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match all.list(&params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            result => result.context("list plugins")?,
        };
        for plugin in &page.items {
            release(&client, plugin).await?;
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(()),
        }
    }
}

/// Deleting a definition deletes its objects; those with a finalizer wait for it to go.
async fn delete_definitions(client: &Client) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for name in [Plugin::crd_name(), PluginSystem::crd_name()] {
        match definitions.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => {
                result.with_context(|| format!("delete the definition {name}"))?;
                tracing::info!(name, "definition deleted");
            }
        }
    }
    Ok(())
}

async fn release(client: &Client, plugin: &Plugin) -> Result<()> {
    if !finalizer::is_on(plugin) {
        return Ok(());
    }
    let name = format!("{}/{}", plugin.namespace().context("a plugin has a namespace")?, plugin.name_any());
    let is_there = finalizer::take_off(client, plugin, true).await;
    if is_there.with_context(|| format!("let go of plugin {name}"))? {
        tracing::info!(plugin = name, "released");
    }
    Ok(())
}
