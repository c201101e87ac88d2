//! The harness itself: a test that fails leaves what is needed to see why.

use std::{env, fs, panic::AssertUnwindSafe, path::PathBuf};

use anyhow::{Context, Result, bail};
use forward_tests::{Cluster, TestNamespace, await_object, run, seconds};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: forward.local/there-is-none:1.0.0
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: marker}
data: {found: here}
";

/// The message of a panicking `run`.
async fn failure(name: &str, test: impl AsyncFnOnce(&TestNamespace) -> Result<()>) -> String {
    let panic = AssertUnwindSafe(run(name, test)).catch_unwind().await.expect_err("it fails");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[tokio::test]
async fn leaves_objects_events_and_logs_of_a_failing_test() -> Result<()> {
    let mut name = None;
    let message = failure("leaves_evidence", async |ns| {
        name = Some(ns.name.clone());
        ns.apply_yaml(POD).await?;
        ns.await_object::<Pod>("stuck", "to be scheduled or not", seconds(30), |pod| {
            pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).is_some_and(|all| !all.is_empty())
        })
        .await?;
        bail!("on purpose")
    })
    .await;
    assert!(message.contains("on purpose"), "{message}");
    let folder = PathBuf::from(message.rsplit(": ").next().context("the folder stands last")?);
    let read = |file: &str| fs::read_to_string(folder.join(file)).with_context(|| file.to_owned());
    assert!(read("failure.txt")?.starts_with("on purpose\n"), "{}", read("failure.txt")?);
    assert!(!read("failure.txt")?.contains("could not dump"), "{}", read("failure.txt")?);
    assert!(read("configmaps.yaml")?.contains("found: here"));
    assert!(read("pods.yaml")?.contains("there-is-none"));
    assert!(read("events.txt")?.contains("stuck"));

    // A failing test keeps its namespace; this one did not really fail.
    let namespace = TestNamespace { cluster: Cluster::connect().await?, name: name.context("it began")? };
    namespace.delete().await?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

#[tokio::test]
async fn says_what_a_panic_said_and_what_was_seen_last() -> Result<()> {
    let mut name = None;
    let message = failure("says_what_was_seen", async |ns| {
        name = Some(ns.name.clone());
        ns.apply_yaml(POD).await?;
        let error = ns
            .await_object::<ConfigMap>("marker", "to change", seconds(1), |_| false)
            .await
            .expect_err("it does not change");
        panic!("{error:#}");
    })
    .await;
    assert!(message.contains("waited 1s for configmap marker to change; last seen:"), "{message}");
    assert!(message.contains("found: here"), "{message}");

    let namespace = TestNamespace { cluster: Cluster::connect().await?, name: name.context("it began")? };
    namespace.delete().await?;
    fs::remove_dir_all(message.rsplit(": ").next().context("the folder stands last")?)?;
    Ok(())
}

#[tokio::test]
async fn keeps_to_pod_security_restricted_and_cleans_up() -> Result<()> {
    let mut name = String::new();
    run("cleans_up", async |ns| {
        name.clone_from(&ns.name);
        let refused =
            ns.apply_yaml(&POD.replace("runAsNonRoot: true, ", "")).await.expect_err("not restricted");
        assert!(format!("{refused:#}").contains("PodSecurity \"restricted"), "{refused:#}");
        Ok(())
    })
    .await;
    let namespaces =
        kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(Cluster::connect().await?.client);
    await_object(&namespaces, &name, "to be gone", seconds(60), |found| found.is_none()).await?;
    Ok(())
}

#[test]
fn names_the_command_that_starts_a_cluster() {
    // In a process of its own: the environment belongs to all tests of this one.
    let program = env::current_exe().expect("this test's program");
    let output = std::process::Command::new(program)
        .args(["--exact", "keeps_to_pod_security_restricted_and_cleans_up"])
        .env_remove("KUBECONFIG")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "a test without a cluster must not pass");
    assert!(text.contains("cargo xtask test"), "{text}");
}
