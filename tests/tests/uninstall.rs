//! The life of a release: installed (as for all tests), upgraded, uninstalled, installed again.
//!
//! In a file of its own, because nothing else can be tested meanwhile.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use forward_crds::{FINALIZER, Plugin};
use forward_tests::{
    Load, SYSTEM_NAMESPACE, TestNamespace, await_object, await_until, plugin, run, seconds, started,
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{Pod, Secret},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command;

const RELEASE: &str = "forward";
/// Requests a second while the gateway is replaced.
const RATE: u32 = 100;

/// The release as the tests found it.
struct Release {
    client: Client,
    values: PathBuf,
}

impl Release {
    async fn current(client: Client) -> Result<Self> {
        let values = env::temp_dir().join(format!("forward-values-{}.yaml", std::process::id()));
        fs::write(&values, helm(&["get", "values", RELEASE, "--output", "yaml"]).await?)?;
        Ok(Self { client, values })
    }

    /// `helm install` or `helm upgrade` with the values it had, and others (`a=1`).
    async fn bring(&self, verb: &str, others: &[&str]) -> Result<()> {
        let chart = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/goforward");
        let (chart, values) = (chart.to_string_lossy(), self.values.to_string_lossy());
        let mut arguments = vec![verb, RELEASE, &chart, "--values", &values, "--wait", "--timeout", "2m"];
        others.iter().for_each(|value| arguments.extend(["--set", value]));
        helm(&arguments).await.map(drop)
    }

    async fn uninstall(&self) -> Result<()> {
        helm(&["uninstall", RELEASE, "--wait", "--timeout", "2m"]).await?;
        // What has a namespace, but the namespace itself.
        self.nothing_left(Api::<Deployment>::namespaced(self.client.clone(), SYSTEM_NAMESPACE)).await?;
        self.nothing_left(Api::<Job>::namespaced(self.client.clone(), SYSTEM_NAMESPACE)).await?;
        self.nothing_left(Api::<ClusterRole>::all(self.client.clone())).await?;
        self.nothing_left(Api::<ClusterRoleBinding>::all(self.client.clone())).await?;
        self.nothing_left(Api::<ValidatingWebhookConfiguration>::all(self.client.clone())).await?;
        self.nothing_left(Api::<Secret>::namespaced(self.client.clone(), SYSTEM_NAMESPACE)).await?;
        let secrets = Api::<Secret>::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let releases = secrets.list(&ListParams::default().labels("owner=helm")).await?.items;
        ensure!(releases.is_empty(), "Helm still knows the release");
        Ok(())
    }

    async fn nothing_left<K>(&self, api: Api<K>) -> Result<()>
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let label = format!("app.kubernetes.io/name=goforward,app.kubernetes.io/instance={RELEASE}");
        let left = api.list(&ListParams::default().labels(&label)).await?.items;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        ensure!(names.is_empty(), "uninstalling left {}: {names:?}", K::kind(&K::DynamicType::default()));
        Ok(())
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        fs::remove_file(&self.values).ok();
    }
}

async fn helm(arguments: &[&str]) -> Result<String> {
    let output = Command::new("helm")
        .args(["--namespace", SYSTEM_NAMESPACE])
        .args(arguments)
        .output()
        .await
        .context("run helm")?;
    if !output.status.success() {
        bail!("helm {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_and_uninstalls_without_hanging_or_stopping_a_plugin() {
    run("release_life", async |ns| {
        let release = Release::current(ns.cluster.client.clone()).await?;
        ns.apply(&plugin("back")).await?;
        ns.apply(&plugin("front").needs("back")).await?;
        ns.await_plugin("front", "to start", seconds(60), started).await?;

        upgrade_under_load(ns, &release).await.context("upgrade")?;
        override_a_plugin(ns, &release).await.context("override")?;
        helm(&["test", RELEASE]).await?;

        keep_plugins(ns, &release).await.context("uninstall")?;
        release.bring("install", &[]).await.context("install again")?;
        ns.await_plugin("front", "to be looked after again", seconds(60), |plugin| {
            started(plugin) && plugin.finalizers().iter().any(|one| one == FINALIZER)
        })
        .await?;

        take_everything_along(ns, &release).await.context("uninstall with crds.keep=false")?;
        release.bring("install", &[]).await.context("install as it was")?;
        ns.apply(&plugin("again")).await?;
        ns.await_plugin("again", "to start", seconds(60), started).await.map(drop)
    })
    .await;
}

/// New pods of the operator and the gateway; no request fails.
async fn upgrade_under_load(ns: &TestNamespace, release: &Release) -> Result<()> {
    let gateway = ns.cluster.gateway()?;
    let path = ns.path("front");
    gateway.await_status(&path, 200, seconds(10)).await?;
    let pods = Api::<Pod>::namespaced(release.client.clone(), SYSTEM_NAMESPACE);
    let names = async || -> Result<Vec<String>> {
        Ok(pods.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
    };
    let before = names().await?;

    let load = Load::start(&gateway, &path, RATE)?;
    release.bring("upgrade", &["logLevel=info\\,hyper=warn"]).await?;
    for name in &before {
        await_object(&pods, name, "to be replaced", seconds(90), |pod| pod.is_none()).await?;
    }
    load.stop().await?.check(RATE)?;
    gateway.await_status(&path, 200, seconds(10)).await.map(drop)
}

/// The release's overrides count before the manifest, until they are gone.
async fn override_a_plugin(ns: &TestNamespace, release: &Release) -> Result<()> {
    let gateway = ns.cluster.gateway()?;
    let note = async |wanted: Option<&str>| {
        await_until(&format!("the note {wanted:?}"), seconds(30), async || {
            let body: Value = gateway.get(&ns.path("front")).await?.json()?;
            ensure!(body["note"].as_str() == wanted, "{body}");
            Ok(())
        })
        .await
    };
    note(None).await?;
    let variable = |rest: &str| format!("overrides.GOFORWARD_PLUGINS_FRONT_{rest}");
    let [text, priority] = [variable("CONFIG_NOTE=from outside"), variable("PRIORITY=20")];
    release.bring("upgrade", &[&text, &priority]).await?;
    ns.await_plugin("front", "to say what is overridden", seconds(60), |plugin| {
        plugin.priority() == 20 && plugin.status.as_ref().is_some_and(|status| status.overrides.len() == 2)
    })
    .await?;
    note(Some("from outside")).await?;
    release.bring("upgrade", &[]).await?;
    ns.await_plugin("front", "to be as its manifest says", seconds(60), |plugin| {
        started(plugin) && plugin.status.as_ref().is_some_and(|status| status.overrides.is_empty())
    })
    .await?;
    note(None).await
}

/// Uninstalling keeps Plugins and what runs of them, and lets go of them.
async fn keep_plugins(ns: &TestNamespace, release: &Release) -> Result<()> {
    release.uninstall().await?;
    for name in ["back", "front"] {
        let plugin = ns.plugin(name).await?;
        ensure!(plugin.finalizers().is_empty(), "{name} can not be deleted: {:?}", plugin.finalizers());
        let deployment = ns.api::<Deployment>().get(name).await?;
        let ready = deployment.status.and_then(|status| status.ready_replicas);
        ensure!(ready == Some(1), "{name} does not run on: {ready:?}");
    }
    // Nobody is there to hold it, and nobody is needed to let it go.
    ns.delete_plugin("back").await?;
    ns.await_plugin_gone("back", seconds(10)).await?;
    ns.apply(&plugin("back")).await.map(drop)
}

/// Uninstalling deletes the CRDs, the Plugins and what runs of them.
async fn take_everything_along(ns: &TestNamespace, release: &Release) -> Result<()> {
    release.bring("upgrade", &["crds.keep=false"]).await?;
    release.uninstall().await?;
    let definitions = Api::<CustomResourceDefinition>::all(release.client.clone());
    let name = format!("{}.goforward.dev", Plugin::plural(&()));
    await_object(&definitions, &name, "to be gone", seconds(30), |crd| crd.is_none()).await?;
    for name in ["back", "front"] {
        let gone = |deployment: Option<&Deployment>| deployment.is_none();
        ns.await_object(name, "to be gone", seconds(30), gone).await?;
    }
    Ok(())
}
