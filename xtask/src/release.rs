//! Puts Forward onto a cluster with its chart, and takes it away.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{exec, images::Built, paths, progress::Step};

/// The release's name and the namespace it lives in.
pub const NAME: &str = "forward";
pub const NAMESPACE: &str = "forward-system";

const CRDS: [&str; 2] = ["plugins.goforward.dev", "pluginsystems.goforward.dev"];

/// A cluster that kubectl and helm reach.
#[derive(Clone, Debug)]
pub struct Target {
    /// Set for every program that works with it.
    pub environment: Vec<(&'static str, String)>,
    /// The kubeconfig's context; the current one if none.
    pub context: Option<String>,
}

impl Target {
    pub fn kubectl(&self) -> Command {
        self.program("kubectl", "--context")
    }

    pub fn helm(&self) -> Command {
        self.program("helm", "--kube-context")
    }

    fn program(&self, name: &str, context: &str) -> Command {
        let mut command = Command::new(self.find(name));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(self.context.iter().flat_map(|name| [context, name]));
        command
    }

    /// By the search path that the program itself will get.
    fn find(&self, name: &str) -> PathBuf {
        let path = self.environment.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.clone());
        let path = path.or_else(|| env::var("PATH").ok()).unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .unwrap_or_else(|| name.into())
    }
}

/// Installs or upgrades the chart with these settings and waits until it runs.
pub fn install(target: &Target, settings: &[String]) -> Result<()> {
    let step = Step::begin("installing the chart");
    step.detail("namespace");
    // Our pods are meant to run where only the least is allowed, so that is where they run.
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    );
    exec::feed(target.kubectl().args(["apply", "--server-side", "--filename=-"]), &namespace)?;
    step.detail("operator and gateway");
    let installed = exec::output(
        target
            .helm()
            .args(["upgrade", "--install", NAME])
            .arg(paths::repository().join("charts/goforward"))
            .args(["--namespace", NAMESPACE, "--wait", "--timeout=120s"])
            .args(settings.iter().flat_map(|setting| ["--set", setting])),
    );
    if let Err(error) = installed {
        bail!("{error:#}\n{}", what_runs(target)?);
    }
    step.done();
    Ok(())
}

/// Settings with which pods are replaced when their image is another one of the same name.
pub fn rolls_with(images: &[Built]) -> Vec<String> {
    let ours = images.iter().filter(|image| ["operator", "gateway"].contains(&image.name));
    ours.map(|Built { name, digest, .. }| format!("{name}.podAnnotations.image-digest={digest}")).collect()
}

/// The pods of the release and what they said last: helm tells only that they are not ready.
fn what_runs(target: &Target) -> Result<String> {
    let in_namespace = ["--namespace", NAMESPACE];
    let pods = exec::output(target.kubectl().args(["get", "pods"]).args(in_namespace))?;
    let selected = ["--selector=app.kubernetes.io/name=goforward", "--prefix", "--tail=5"];
    let logs = exec::output(target.kubectl().arg("logs").args(selected).args(in_namespace));
    // A pod that never ran has no logs.
    Ok(format!("{pods}{}", logs.unwrap_or_default()))
}

/// Removes the release and its namespace, and the API unless somebody has Plugins of their own.
pub fn uninstall(target: &Target) -> Result<()> {
    let step = Step::begin("uninstalling the chart");
    exec::output(target.helm().args([
        "uninstall",
        NAME,
        "--namespace",
        NAMESPACE,
        "--ignore-not-found",
        "--wait",
    ]))?;
    exec::output(target.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]))?;
    let mut others = String::new();
    if has_api(target)? {
        others = exec::output(target.kubectl().args(["get", CRDS[0], "--all-namespaces", "--output=name"]))?;
        if others.is_empty() {
            exec::output(target.kubectl().args(["delete", "crd", "--ignore-not-found"]).args(CRDS))?;
        }
    }
    step.done();
    if !others.is_empty() {
        println!("left in place, as there are Plugins that are not the demo's: the CRDs {}", CRDS.join(", "));
    }
    Ok(())
}

/// Whether the cluster knows what a Plugin is.
pub fn has_api(target: &Target) -> Result<bool> {
    let found =
        exec::output(target.kubectl().args(["get", "crd", CRDS[0], "--ignore-not-found", "--output=name"]))?;
    Ok(!found.is_empty())
}
