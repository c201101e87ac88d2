//! Keeps the webhook's certificates: makes, renews and publishes what is due. Only the replica that
//! leads does, one step at a time, each from what the API server has at that moment.

use std::{pin::pin, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    certificate::{self, Data},
    secrets,
    step::{Step, next},
};
use crate::apply::TIMEOUT;

/// Our name in `managedFields`: another than the operator's, so that neither takes fields of the
/// other for its own.
const MANAGER: &str = "forward-operator-webhook";
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// The longest that nothing is looked at.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Keeps the certificates of one webhook.
#[derive(Clone)]
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    /// The name of the Secret and of the Service.
    name: String,
    /// The name of the configuration.
    configuration: String,
    /// What the API server calls the Service by.
    host: String,
}

impl Keeper {
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            secrets: secrets(client, namespace),
            configurations: Api::all(client.clone()),
            name: name.to_owned(),
            configuration: format!("{name}.goforward.dev"),
            host: format!("{name}.{namespace}.svc"),
        }
    }

    /// Do what is due, whenever it is, until dropped.
    pub async fn keep(&self) {
        let secret = watcher::watch_object(self.secrets.clone(), &self.name).map(drop_value);
        let configuration =
            watcher::watch_object(self.configurations.clone(), &self.configuration).map(drop_value);
        let mut changes =
            pin!(futures::stream::select(secret.default_backoff(), configuration.default_backoff(),));
        loop {
            let pause = match self.advance(Timestamp::now()).await {
                Ok(None) => continue,
                Ok(Some(until)) => {
                    Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or(AFTER_FAILURE)
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the webhook's certificates wait");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                change = changes.next() => if let Some(Err(error)) = change {
                    tracing::warn!(%error, "watch of the webhook's Secret and configuration interrupted");
                },
                () = sleep(pause.min(LONGEST)) => {}
            }
        }
    }

    /// Do one step. Answers when to look again, where nothing was to be done.
    pub async fn advance(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let secret = timeout(TIMEOUT, self.secrets.get(&self.name)).await?;
        let secret =
            secret.with_context(|| format!("read secret {:?}, which the chart creates", self.name))?;
        let data = secret.data.clone().unwrap_or_default();
        let published = self.published().await?;
        let held = certificate::held(&data);
        match next(now, &held, published.as_deref(), &self.host) {
            Step::Wait(until) => return Ok(Some(until)),
            Step::Publish(bundle) => self.publish(bundle).await?,
            Step::MakeAuthority => self.write(&secret, certificate::with_authority(&data, now)?).await?,
            Step::Sign => self.write(&secret, certificate::with_certificate(&data, &self.host, now)?).await?,
        }
        Ok(None)
    }

    /// What the API server has been told; nothing where there is no configuration.
    async fn published(&self) -> Result<Option<String>> {
        let found = timeout(TIMEOUT, self.configurations.get_opt(&self.configuration)).await?;
        let found = found.with_context(|| format!("read webhook configuration {:?}", self.configuration))?;
        let webhook = found.and_then(|found| found.webhooks?.into_iter().next());
        let bundle = |bundle: ByteString| String::from_utf8_lossy(&bundle.0).into_owned();
        Ok(webhook.map(|webhook| webhook.client_config.ca_bundle.map(bundle).unwrap_or_default()))
    }

    async fn publish(&self, bundle: String) -> Result<()> {
        let client = json!({"caBundle": ByteString(bundle.into_bytes())});
        let body = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.configuration},
            "webhooks": [{"name": WEBHOOK, "clientConfig": client}],
        });
        let (params, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&body));
        let call = self.configurations.patch(&self.configuration, &params, &patch);
        timeout(TIMEOUT, call).await?.with_context(|| format!("publish in {:?}", self.configuration))?;
        tracing::info!("told the API server of the webhook's authorities");
        Ok(())
    }

    /// Write the Secret, unless somebody has since: a replica that leads no more overwrites nothing.
    async fn write(&self, secret: &Secret, data: Data) -> Result<()> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "resourceVersion": secret.resource_version()},
            "data": data,
        });
        let (params, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&body));
        let call = self.secrets.patch(&self.name, &params, &patch);
        timeout(TIMEOUT, call).await?.with_context(|| format!("write secret {:?}", self.name))?;
        tracing::info!("made a webhook certificate");
        Ok(())
    }
}

/// The name of the webhook in its configuration.
const WEBHOOK: &str = "plugins.goforward.dev";

/// A change wakes; what it is is read from the API server.
fn drop_value<T>(event: Result<Option<T>, watcher::Error>) -> Result<(), watcher::Error> {
    event.map(drop)
}
