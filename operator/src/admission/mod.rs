//! The validating webhook: denies what is wrong in a Plugin by itself, warns of what stands in its
//! way, and changes nothing.
//!
//! Owns how reviews are answered, the port that they come in at, and the certificates of that port.
//! Refuses to own any rule: what is said comes from `forward-plan`. Every replica answers; one that
//! can not is not waited for (`failurePolicy: Ignore`), so nothing here may be needed to be safe.

mod certificate;
mod confirm;
mod keep;
mod review;
mod serve;
mod step;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{net::TcpListener, sync::watch};

pub use confirm::Confirmer;
pub use keep::Keeper;
pub use review::Reviewer;

/// Where a replica has its certificate from: absent until there is one.
type Certificate = Option<Arc<rustls::sign::CertifiedKey>>;

/// Answer reviews until `stop` turns true, with the certificate that is in the Secret at the time.
pub async fn serve(
    listen: SocketAddr,
    reviewer: Reviewer,
    confirmer: Confirmer,
    secrets: Api<Secret>,
    name: String,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let (sender, certificate) = watch::channel(None);
    let config = serve::config(certificate)?;
    tokio::select! {
        result = serve::run(listener, config, serve::router(reviewer, confirmer), stop) => result,
        () = follow(secrets, &name, sender) => Ok(()),
    }
}

/// Keep the certificate that is served to what the Secret holds. One that can not be used leaves
/// the last good one in place.
async fn follow(secrets: Api<Secret>, name: &str, certificate: watch::Sender<Certificate>) {
    let mut events = watcher::watch_object(secrets, name).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let secret = match event {
            Ok(Some(secret)) => secret,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "watch of the webhook's certificate interrupted");
                continue;
            }
        };
        match certificate::load(&secret.data.unwrap_or_default()) {
            Ok(Some(loaded)) => {
                let changed = |now: &mut Certificate| {
                    let same = now.as_ref().is_some_and(|now| now.cert == loaded.cert);
                    *now = Some(Arc::new(loaded));
                    !same
                };
                if certificate.send_if_modified(changed) {
                    tracing::info!("serving a new webhook certificate");
                }
            }
            Ok(None) => tracing::debug!("there is no webhook certificate yet"),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the webhook's certificate can not be used");
            }
        }
    }
}

/// Secrets of the operator's own namespace.
pub fn secrets(client: &Client, namespace: &str) -> Api<Secret> {
    Api::namespaced(client.clone(), namespace)
}
