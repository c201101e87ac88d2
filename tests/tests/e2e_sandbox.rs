//! What the sandbox keeps a plugin from. The tests' cluster does not enforce network policies: what
//! is looked at is what the operator writes, and whether it selects the pods that it means.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    Body, PluginBuilder, SYSTEM_NAMESPACE, TestNamespace, condition, has_reason, plugin, run, seconds,
    started,
};
use http::Request;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::Pod,
    networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

/// The test plugin with more in its sandbox.
fn sandboxed(name: &str, more: Value) -> PluginBuilder {
    let mut sandbox = json!({"memory": "64Mi", "cpu": "100m"});
    if let (Some(sandbox), Value::Object(more)) = (sandbox.as_object_mut(), more) {
        sandbox.extend(more);
    }
    plugin(name).set("sandbox", sandbox)
}

fn system(spec: Value) -> Value {
    json!({
        "apiVersion": "goforward.dev/v1alpha1",
        "kind": "PluginSystem",
        "metadata": {"name": "default"},
        "spec": spec,
    })
}

#[tokio::test]
async fn a_plugin_writes_where_its_sandbox_lets_it_and_nowhere_else() {
    run("a_plugin_writes_where_its_sandbox_lets_it", async |ns| {
        let elsewhere = ["/a-file", "/etc/goforward/a-file", "/var/tmp/a-file"];
        for (name, filesystem, tmp) in [("sealed", "None", false), ("plain", "ReadOnly", true)] {
            ns.apply(&sandboxed(name, json!({"filesystem": filesystem}))).await?;
            ns.await_plugin(name, "to be ready", seconds(60), started).await?;
            ns.cluster.gateway()?.await_status(&ns.path(name), 200, seconds(10)).await?;
            ensure!(writes(ns, name, "/tmp/a-file").await? == tmp, "{filesystem}: /tmp");
            for path in elsewhere {
                ensure!(!writes(ns, name, path).await?, "{filesystem}: {path} was written");
            }
        }
        ensure!(!writes(ns, "sealed", "/dev/shm/a-file").await?, "None: /dev/shm was written");
        Ok(())
    })
    .await;
}

/// Whether a plugin can write a file.
async fn writes(ns: &TestNamespace, plugin: &str, path: &str) -> Result<bool> {
    let answer = ns.cluster.gateway()?.post(&format!("{}write?path={path}", ns.path(plugin)), "").await?;
    ensure!(answer.status == 200, "{answer:?}");
    answer.json::<Value>()?["written"].as_bool().context("an outcome")
}

#[tokio::test]
async fn policies_select_the_pods_that_they_mean_and_go_with_their_plugin() {
    run("policies_select_the_pods_that_they_mean", async |ns| {
        let egress = json!([{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"], "ports": [443]}]);
        ns.apply(&plugin("stock")).await?;
        ns.apply(&sandboxed("web", json!({"network": {"egress": egress}})).needs("stock").replicas(2))
            .await?;
        ns.await_plugin("web", "to be ready", seconds(90), started).await?;
        let policy = ns.api::<NetworkPolicy>().get("web").await?.spec.context("a policy")?;
        ensure!(policy.policy_types == Some(vec!["Ingress".to_owned(), "Egress".to_owned()]), "{policy:?}");
        let rules = policy.egress.unwrap_or_default();
        ensure!(rules.len() == 3, "DNS, the dependency and the addresses: {rules:?}");
        let stock = rules[1].to.as_ref().and_then(|to| to.first()).context("the dependency")?;
        ensure!(owners(ns, &ns.name, stock).await? == ["stock"]);
        let ingress = ns.api::<NetworkPolicy>().get("stock").await?.spec.and_then(|spec| spec.ingress);
        let from = ingress.and_then(|rules| rules.into_iter().next()?.from).context("who is let in")?;
        let [gateway, dependents] = from.as_slice() else { anyhow::bail!("{from:?}") };
        ensure!(owners(ns, &ns.name, dependents).await? == ["web", "web"]);
        let gateways = owners(ns, SYSTEM_NAMESPACE, gateway).await?;
        ensure!(!gateways.is_empty() && gateways.iter().all(|name| name == "gateway"), "{gateways:?}");
        is_put_right_and_goes(ns).await
    })
    .await;
}

/// Whose the pods are that a peer selects: a plugin's, or a component's of the release.
async fn owners(ns: &TestNamespace, namespace: &str, peer: &NetworkPolicyPeer) -> Result<Vec<String>> {
    let labels = |selector: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>| {
        selector.as_ref().and_then(|selector| selector.match_labels.clone()).unwrap_or_default()
    };
    let within: BTreeMap<_, _> = labels(&peer.namespace_selector);
    let found = within.get("kubernetes.io/metadata.name").map_or(ns.name.as_str(), String::as_str);
    ensure!(found == namespace, "the policy means the namespace {found}, not {namespace}");
    let pairs: Vec<_> =
        labels(&peer.pod_selector).iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods = Api::<Pod>::namespaced(ns.cluster.client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(&pairs.join(","))).await?.items;
    let owner = |pod: &Pod| {
        let labels = pod.labels();
        labels.get("goforward.dev/plugin").or(labels.get("app.kubernetes.io/component")).cloned()
    };
    Ok(pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(owner).collect())
}

async fn is_put_right_and_goes(ns: &TestNamespace) -> Result<()> {
    let before = ns.api::<NetworkPolicy>().get("web").await?.metadata.uid;
    ns.api::<NetworkPolicy>().delete("web", &DeleteParams::default()).await?;
    ns.await_object::<NetworkPolicy>("web", "to be made again", seconds(30), |policy| {
        policy.is_some_and(|policy| policy.metadata.uid != before)
    })
    .await?;
    let there = |budget: Option<&PodDisruptionBudget>| budget.is_some();
    ns.await_object::<PodDisruptionBudget>("web", "to be there for two pods", seconds(10), there).await?;
    ns.patch_plugin("web", json!({"spec": {"replicas": 1}})).await?;
    ns.await_object::<PodDisruptionBudget>("web", "to go with one pod", seconds(30), |b| b.is_none()).await?;
    ns.delete_plugin("web").await?;
    ns.await_plugin_gone("web", seconds(60)).await?;
    ns.await_object::<NetworkPolicy>("web", "to be gone", seconds(60), |policy| policy.is_none()).await?;
    Ok(())
}

#[tokio::test]
async fn another_account_needs_the_leave_of_the_namespace() {
    run("another_account_needs_the_leave_of_the_namespace", async |ns| {
        ns.apply_yaml("{apiVersion: v1, kind: ServiceAccount, metadata: {name: shop}}").await?;
        let as_account = |name: &str| plugin("mailer").set("template", json!({"serviceAccountName": name}));
        ns.apply(&as_account("shop")).await?;
        let not_allowed = has_reason("Accepted", "TemplateNotAllowed");
        let refused = ns.await_plugin("mailer", "to be refused", seconds(30), &not_allowed).await?;
        let message = &condition(&refused, "Accepted").context("a condition")?.message;
        for word in ["spec.template.serviceAccountName", "\"shop\"", "serviceAccountNames", "PluginSystem"] {
            ensure!(message.contains(word), "{word} is not in: {message}");
        }
        ensure!(condition(&refused, "Stalled").is_some_and(|stalled| stalled.status == "False"));
        ensure!(ns.api::<Deployment>().get_opt("mailer").await?.is_none(), "it was made all the same");
        let templates = system(json!({"templates": {"serviceAccountNames": ["shop"]}}));
        ns.apply_as("forward-tests", &templates).await?;
        ns.await_plugin("mailer", "to be ready", seconds(60), started).await?;
        ensure!(account(ns).await?.as_deref() == Some("shop"));
        ns.cluster.gateway()?.await_status(&ns.path("mailer"), 200, seconds(10)).await?;
        // What serves goes on when an edit oversteps.
        ns.apply(&as_account("default")).await?;
        ns.await_plugin("mailer", "to be refused again", seconds(30), &not_allowed).await?;
        ensure!(account(ns).await?.as_deref() == Some("shop"));
        let answer = ns.cluster.gateway()?.get(&ns.path("mailer")).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await;
}

/// The account in the Deployment of `mailer`.
async fn account(ns: &TestNamespace) -> Result<Option<String>> {
    let deployment = ns.api::<Deployment>().get("mailer").await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("a pod template")?;
    Ok(pod.service_account_name)
}

#[tokio::test]
async fn a_namespace_ends_where_another_begins() {
    run("a_namespace_ends_where_another_begins", async |ns| {
        let other = TestNamespace::create(ns.cluster.clone(), "the-other-namespace").await?;
        let outcome = keeps_apart(ns, &other).await;
        other.delete().await?;
        outcome
    })
    .await;
}

async fn keeps_apart(ns: &TestNamespace, other: &TestNamespace) -> Result<()> {
    for (one, words) in [(ns, "ours"), (other, "theirs")] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words"},
                            "stringData": {"note": words}});
        one.apply_as("forward-tests", &secret).await?;
        one.apply_as("forward-tests", &system(json!({"hosts": [host(one)]}))).await?;
    }
    let from = json!([{"path": "/note", "secretKeyRef": {"name": "words", "key": "note"}}]);
    ns.apply(&plugin("reader").set("configFrom", from)).await?;
    ns.await_plugin("reader", "to be ready", seconds(60), started).await?;
    let ask = async |host: &str| {
        let request = Request::get(ns.path("reader")).header("host", host).body(Body::default())?;
        ns.cluster.gateway()?.send(request).await
    };
    let answer = forward_tests::await_until("its own host to be served", seconds(10), async || {
        let answer = ask(&host(ns)).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(answer)
    })
    .await?;
    ensure!(answer.json::<Value>()?["note"] == "ours", "{}", answer.text());
    let answer = ask(&host(other)).await?;
    ensure!(answer.status == 404, "it is reached under the other's host: {answer:?}");
    takes_no_host(ns, other).await
}

/// A plugin that names a host of the other namespace, and comes first, gets nothing of it, and is told.
async fn takes_no_host(ns: &TestNamespace, other: &TestNamespace) -> Result<()> {
    let route = json!({"routes": [{"method": "GET", "path": "/reader", "host": host(ns)}]});
    other.apply(&plugin("thief").priority(1000).set("http", route)).await?;
    let told = |seen: &Plugin| {
        let routes = seen.status.as_ref().map_or(&[][..], |status| &status.routes);
        let why = format!("host {} belongs to namespace {}", host(ns), ns.name);
        routes.iter().any(|route| {
            route.host == host(ns)
                && !route.active
                && route.message.as_ref().is_some_and(|it| it.contains(&why))
        })
    };
    other.await_plugin("thief", "to be told whose the host is", seconds(60), told).await?;
    let request = Request::get("/reader").header("host", host(ns)).body(Body::default())?;
    let answer = ns.cluster.gateway()?.send(request).await?;
    ensure!(answer.status == 404, "it is served under a host of another namespace: {answer:?}");
    Ok(())
}

fn host(namespace: &TestNamespace) -> String {
    format!("{}.example.com", namespace.name)
}
