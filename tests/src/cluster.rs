//! The cluster that the tests run on, as the environment describes it.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{Audit, Gateway};

/// What to do where the environment names no cluster.
const HOW_TO: &str = "this test needs a cluster; `cargo xtask test` starts one and runs it";

/// The cluster that the tests run on.
#[derive(Clone)]
pub struct Cluster {
    /// A client with all rights.
    pub client: Client,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names. There is no default, so that a test never runs on
    /// somebody's real cluster by accident.
    pub async fn connect() -> Result<Self> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        variable("KUBECONFIG")?;
        let kubeconfig = Kubeconfig::from_env()
            .with_context(|| format!("read the file that KUBECONFIG names; {HOW_TO}"))?
            .with_context(|| format!("KUBECONFIG names no file; {HOW_TO}"))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("reach the API server that KUBECONFIG names; {HOW_TO}"))?;
        Ok(Self { client })
    }

    /// The gateway, as clients outside the cluster reach it.
    pub fn gateway(&self) -> Result<Gateway> {
        Gateway::new(&variable("FORWARD_GATEWAY_URL")?)
    }

    /// The API server's audit log.
    pub fn audit(&self) -> Result<Audit> {
        Ok(Audit::new(variable("FORWARD_AUDIT_LOG")?.into()))
    }
}

/// Where failing tests leave what they saw.
pub fn artifacts() -> PathBuf {
    env::var_os("FORWARD_ARTIFACTS").map_or_else(|| env::temp_dir().join("forward-artifacts"), PathBuf::from)
}

/// A variable that the cluster's description needs.
pub fn variable(name: &str) -> Result<String> {
    env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .with_context(|| format!("{name} is not set: {HOW_TO}"))
}
