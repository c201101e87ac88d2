//! What `kubectl apply` says at once, and that nothing depends on somebody being there to say it.
//!
//! One test in a file of its own: at its end the operator is away for a moment.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use forward_tests::{SYSTEM_NAMESPACE, TestNamespace, await_until, run, seconds};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

/// What kubectl came to.
struct Said {
    done: bool,
    text: String,
}

/// A plugin that is not to run: what is said of it does not depend on its pods.
fn manifest(name: &str, version: &str, needs: &[(&str, &str)]) -> Value {
    let needs: Vec<_> = needs.iter().map(|(name, range)| json!({"name": name, "version": range})).collect();
    json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"version": version, "image": "forward.local/none:1.0.0", "dependencies": needs},
    })
}

async fn kubectl(ns: &TestNamespace, arguments: &[&str], manifests: &[Value]) -> Result<Said> {
    let mut child = Command::new("kubectl")
        .args(["--namespace", &ns.name])
        .args(arguments)
        .stdin(if manifests.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run kubectl")?;
    if let Some(mut input) = child.stdin.take() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        input.write_all(&serde_json::to_vec(&list)?).await.context("write to kubectl")?;
    }
    let output = child.wait_with_output().await?;
    Ok(Said { done: output.status.success(), text: String::from_utf8_lossy(&output.stderr).into_owned() })
}

async fn apply(ns: &TestNamespace, manifests: &[Value]) -> Result<Said> {
    kubectl(ns, &["apply", "--filename=-"], manifests).await
}

/// Wait until the API server asks the operator and gets an answer.
async fn await_webhook(ns: &TestNamespace) -> Result<()> {
    let asked = manifest("asked", "1.0.0", &[("nobody", "^1")]);
    await_until("the webhook to warn", seconds(120), async || {
        let dry = ["apply", "--dry-run=server", "--filename=-"];
        let said = kubectl(ns, &dry, std::slice::from_ref(&asked)).await?;
        ensure!(said.done && said.text.contains("there is no such plugin"), "{}", said.text);
        Ok(())
    })
    .await
}

/// Apply, and see the warning.
async fn warned(ns: &TestNamespace, manifests: &[Value], expected: &str) -> Result<()> {
    let said = apply(ns, manifests).await?;
    ensure!(
        said.done && said.text.contains(&format!("Warning: {expected}")),
        "not {expected:?}: {}",
        said.text
    );
    Ok(())
}

#[tokio::test]
async fn says_at_once_what_is_amiss_and_goes_on_when_nobody_is_there_to_say_it() {
    run("admit_warnings", async |ns| {
        await_webhook(ns).await?;
        warn_of_what_others_could_make_right(ns).await.context("warnings")?;
        deny_what_nobody_could(ns).await.context("denial")?;
        go_on_alone(ns).await.context("without the operator")
    })
    .await;
}

async fn warn_of_what_others_could_make_right(ns: &TestNamespace) -> Result<()> {
    let checkout = manifest("checkout", "1.0.0", &[("inventory", "^1")]);
    let missing = "checkout: waits for inventory ^1: there is no such plugin; fix: apply inventory";
    warned(ns, std::slice::from_ref(&checkout), missing).await?;
    // In the right order there is nothing to say, however fast one follows the other.
    let (first, second) = (manifest("first", "1.0.0", &[]), manifest("second", "1.0.0", &[("first", "^1")]));
    let said = apply(ns, &[first, second]).await?;
    ensure!(said.done && said.text.is_empty(), "{}", said.text);
    let conflict = "third: waits for first ^2: its version 1.0.0 is not in ^2";
    warned(ns, &[manifest("third", "1.0.0", &[("first", "^2")])], conflict).await?;
    let cycle = "first: dependency cycle: first -> second -> first";
    warned(ns, &[manifest("first", "1.0.0", &[("second", "^1")])], cycle).await?;
    let update = "first: 2.0.0 is not accepted by second (needs ^1)";
    warned(ns, &[manifest("first", "2.0.0", &[])], update).await?;
    let said = kubectl(ns, &["delete", "--wait=false", "plugin", "first"], &[]).await?;
    ensure!(
        said.done && said.text.contains("first: is to be deleted, and is needed by second"),
        "{}",
        said.text
    );
    let (third, fourth) = (manifest("third", "2.0.0", &[]), manifest("fourth", "1.0.0", &[("third", "^2")]));
    apply(ns, &[third, fourth]).await?;
    let said = kubectl(ns, &["scale", "plugin", "third", "--replicas=0"], &[]).await?;
    ensure!(said.done && said.text.contains("third: is to be stopped"), "{}", said.text);
    Ok(())
}

async fn deny_what_nobody_could(ns: &TestNamespace) -> Result<()> {
    let said = apply(ns, &[manifest("never", "1.0.0", &[("inventory", ">=2, <1")])]).await?;
    let expected =
        "never: spec.dependencies[0].version: no version is in the range \">=2, <1\" for inventory";
    ensure!(!said.done && said.text.contains(expected), "{}", said.text);
    let mut misfit = manifest("misfit", "1.0.0", &[]);
    misfit["spec"]["config"] = json!({"port": "http", "prot": 80});
    misfit["spec"]["configSchema"] = json!({"properties": {"port": {"type": "integer"}}});
    let said = apply(ns, std::slice::from_ref(&misfit)).await?;
    let expected = "misfit: spec.config: it does not fit spec.configSchema: \
        /port: must be a whole number, found \"http\"; the schema does not know /prot; correct it, or the schema";
    ensure!(!said.done && said.text.contains(expected), "{}", said.text);
    misfit["spec"]["config"] = json!({"prot": 80});
    let unknown = "misfit: the configuration has fields that its schema does not know: /prot";
    warned(ns, &[misfit], unknown).await
}

async fn go_on_alone(ns: &TestNamespace) -> Result<()> {
    let pods = Api::<Pod>::namespaced(ns.cluster.client.clone(), SYSTEM_NAMESPACE);
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for round in 0..5 {
        for pod in pods.list(&operators).await? {
            match pods.delete(&pod.name_any(), &at_once).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
        let said = apply(ns, &[manifest("alone", &format!("1.0.{round}"), &[("nobody", "^1")])]).await?;
        ensure!(said.done, "{}", said.text);
    }
    await_webhook(ns).await
}
