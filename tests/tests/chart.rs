//! The chart as Helm renders it: what the API server thinks of it, without installing it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use forward_tests::run;
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::PostParams;
use serde_json::{Value, json};

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/goforward")
}

fn helm(arguments: &[&str]) -> Result<String> {
    let output = Command::new("helm").args(arguments).current_dir(chart()).output().context("run helm")?;
    if !output.status.success() {
        bail!("helm {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The objects of the chart with values (`a=1`).
fn rendered(values: &[&str]) -> Result<Vec<Value>> {
    let mut arguments = vec!["template", "forward", ".", "--namespace", "forward-system"];
    values.iter().for_each(|value| arguments.extend(["--set", value]));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&helm(&arguments)?)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// All pods that the chart brings: those of Deployments, of hooks and of `helm test`.
fn pods(objects: &[Value]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for object in objects {
        let template = if object["kind"] == "Pod" { object } else { &object["spec"]["template"] };
        if template.is_object() {
            let template: PodTemplateSpec = serde_json::from_value(template.clone())?;
            // The ServiceAccount is not in the namespace that the pod is tried in.
            let mut spec = template.spec.context("a pod has a spec")?;
            spec.service_account_name = None;
            let metadata = ObjectMeta { generate_name: Some("chart-".to_owned()), ..ObjectMeta::default() };
            pods.push(Pod { metadata, spec: Some(spec), status: None });
        }
    }
    Ok(pods)
}

#[test]
fn lints_without_a_word_of_warning() -> Result<()> {
    let said = helm(&["lint", "--strict", "."])?;
    ensure!(said.contains("0 chart(s) failed") && !said.contains("[WARNING]"), "{said}");
    Ok(())
}

#[tokio::test]
async fn brings_pods_that_meet_pod_security_restricted() {
    run("chart_pod_security", async |ns| {
        let pods = pods(&rendered(&[])?)?;
        assert_eq!(pods.len(), 4, "operator, gateway, release hook, test");
        let create = PostParams { dry_run: true, ..PostParams::default() };
        for pod in pods {
            ns.api::<Pod>().create(&create, &pod).await.context("the namespace enforces restricted")?;
        }
        Ok(())
    })
    .await;
}

#[test]
fn gives_no_right_to_secrets_but_its_own_and_none_by_wildcard() -> Result<()> {
    let of_webhook = rendered(&[])?;
    let roles = of_kind(&of_webhook, "Role");
    let rules: Vec<&Value> = roles.iter().filter_map(|role| role["rules"].as_array()).flatten().collect();
    let secrets: Vec<_> = rules.iter().filter(|rule| rule["resources"] == json!(["secrets"])).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0]["resourceNames"], json!(["forward-operator-webhook"]));
    ensure!(!secrets[0]["verbs"].to_string().contains("create"), "{}", secrets[0]);
    let objects = rendered(&["crds.keep=false", "webhook.enabled=false"])?;
    for role in of_kind(&objects, "ClusterRole").into_iter().chain(of_kind(&objects, "Role")) {
        let rules = role["rules"].to_string();
        ensure!(
            !rules.contains("secrets") && !rules.contains("\"*\""),
            "{}: {rules}",
            role["metadata"]["name"]
        );
    }
    let gateway = objects.iter().find(|object| {
        object["kind"] == "ClusterRole" && object["metadata"]["name"] == "goforward:forward:gateway"
    });
    let rules = &gateway.context("the gateway has a role")?["rules"];
    for rule in rules.as_array().context("rules")? {
        let verbs = rule["verbs"].to_string();
        let of_events = rule["resources"] == json!(["events"]);
        ensure!((of_events || !verbs.contains("create")) && !verbs.contains("delete"), "{rule}");
    }
    Ok(())
}

#[test]
fn refuses_values_that_it_does_not_know() -> Result<()> {
    for value in [
        "gateway.replica=3",
        "operator.replicas=0",
        "crds.keep=maybe",
        "gateway.service.type=External",
        "gateway.drain=5m",
        "gateway.alerts.plainReceivers[0]=https://alertmanager.monitoring",
        "gateway.alerts.plainReceivers[0]=http://alertmanager.monitoring/path?a",
        "image.registry=",
        "operator.resources.limits.memory=lots",
        "operator.dns.namespace=",
        "monitoring.alerts=true",
        "overrides.GOFORWARD_PLUGINS_DIRECTORY=plugins",
        "overrides.PATH=/",
        "webhook.enabled=yes",
        "webhook.failurePolicy=Fail",
    ] {
        ensure!(rendered(&[value]).is_err(), "{value} is accepted");
    }
    rendered(&["global.imageRegistry=x"]).context("Helm passes global to charts that others include")?;
    Ok(())
}

#[test]
fn passes_values_on() -> Result<()> {
    let objects = rendered(&[
        "image.registry=registry.example/forward",
        "image.pullSecrets={pull}",
        "gateway.image.tag=9.9.9",
        "gateway.service.type=NodePort",
        "gateway.service.nodePort=30080",
        "gateway.drain=20s",
        "gateway.workers=3",
        "gateway.upstreamTimeout=1m",
        "gateway.maxConnections=500",
        "gateway.maxConnectionsPerClient=20",
        "gateway.trustedProxies={10.0.0.0/8,fd00::/8}",
        "gateway.accessLog=Errors",
        "gateway.tracing.endpoint=http://collector:4317",
        "gateway.tracing.sampleRatio=0.5",
        "operator.priorityClassName=system-cluster-critical",
        "overrides.GOFORWARD_PLUGINS_ENABLED=false",
        "overrides.GOFORWARD_PLUGINS_A_PRIORITY=1000000",
        "overrides.GOFORWARD_PLUGINS_A_CONFIG_NOTE=it's \"quoted\"",
        "operator.dns.namespace=dns",
        "operator.dns.podLabels.app=resolver",
    ])?;
    let deployments = of_kind(&objects, "Deployment");
    let find = |name: &str| {
        let found = deployments.iter().find(|one| one["metadata"]["name"] == name);
        found.map(|one| one["spec"]["template"]["spec"].clone()).with_context(|| name.to_owned())
    };
    let (gateway, operator) = (find("forward-gateway")?, find("forward-operator")?);
    assert_eq!(gateway["containers"][0]["image"], "registry.example/forward/gateway:9.9.9");
    assert_eq!(
        gateway["containers"][0]["args"],
        json!([
            "--service=forward-gateway",
            "--drain=20s",
            "--workers=3",
            "--upstream-timeout=1m",
            "--max-connections=500",
            "--max-connections-per-client=20",
            "--trusted-proxies=10.0.0.0/8,fd00::/8",
            "--access-log=Errors",
            "--tracing-endpoint=http://collector:4317",
            "--tracing-sample-ratio=0.5",
        ])
    );
    assert_eq!(gateway["terminationGracePeriodSeconds"], 60);
    assert_eq!(gateway["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(operator["priorityClassName"], "system-cluster-critical");
    let variables = operator["containers"][0]["env"].as_array().context("variables")?;
    for (name, value) in
        [("ENABLED", "false"), ("A_PRIORITY", "1000000"), ("A_CONFIG_NOTE", "it's \"quoted\"")]
    {
        let variable = json!({"name": format!("GOFORWARD_PLUGINS_{name}"), "value": value});
        ensure!(variables.contains(&variable), "{variable} is not in {variables:?}");
    }
    assert_eq!(
        operator["containers"][0]["args"],
        json!([
            "--lease=forward-operator",
            "--gateway-namespace=forward-system",
            "--gateway-selector=app.kubernetes.io/component=gateway,app.kubernetes.io/instance=forward,app.kubernetes.io/name=goforward",
            "--dns-namespace=dns",
            "--dns-selector=app=resolver,k8s-app=kube-dns",
            "--webhook=forward-operator-webhook",
        ])
    );
    let services = of_kind(&objects, "Service");
    let service =
        services.iter().find(|one| one["metadata"]["name"] == "forward-gateway").context("Service")?;
    assert_eq!(service["spec"]["type"], "NodePort");
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30080);
    Ok(())
}

#[test]
fn leaves_the_crds_to_others_or_takes_them_along() -> Result<()> {
    let installed = rendered(&[])?;
    for crd in of_kind(&installed, "CustomResourceDefinition") {
        let policy = &crd["metadata"]["annotations"]["helm.sh/resource-policy"];
        ensure!(policy == "keep", "Helm would delete all Plugins: {}", crd["metadata"]);
    }
    assert_eq!(of_kind(&installed, "CustomResourceDefinition").len(), 2);
    assert_eq!(of_kind(&rendered(&["crds.install=false"])?, "CustomResourceDefinition").len(), 0);
    let arguments = |objects: &[Value]| {
        of_kind(objects, "Job")[0]["spec"]["template"]["spec"]["containers"][0]["args"].clone()
    };
    assert_eq!(arguments(&installed), json!(["release"]));
    assert_eq!(arguments(&rendered(&["crds.keep=false"])?), json!(["release", "--delete-crds"]));
    Ok(())
}

#[test]
fn leaves_the_webhook_out_where_it_is_not_wanted() -> Result<()> {
    let with = rendered(&[])?;
    let configuration = of_kind(&with, "ValidatingWebhookConfiguration");
    let webhook = &configuration.first().context("there is one")?["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    ensure!(webhook["clientConfig"].get("caBundle").is_none(), "Helm would undo what the operator sets");
    ensure!(of_kind(&with, "Secret")[0].get("data").is_none(), "Helm would undo what the operator sets");
    // Receivers of alerts are webhooks too, in the definition of PluginSystem.
    let without = rendered(&["webhook.enabled=false"])?;
    let mut others = without.iter().filter(|object| object["kind"] != "CustomResourceDefinition");
    let left = others.find(|object| object.to_string().contains("webhook"));
    ensure!(left.is_none(), "{left:?}");
    Ok(())
}

#[test]
fn brings_monitoring_where_it_is_asked_for() -> Result<()> {
    const KINDS: [&str; 2] = ["PodMonitor", "PrometheusRule"];
    let plain = rendered(&[])?;
    for kind in KINDS {
        ensure!(of_kind(&plain, kind).is_empty(), "not every cluster knows {kind}");
    }
    ensure!(of_kind(&plain, "ConfigMap").is_empty(), "a dashboard that nobody asked for");
    let objects = rendered(&[
        "monitoring.podMonitor=true",
        "monitoring.rules=true",
        "monitoring.dashboards=true",
        "monitoring.labels.release=watcher",
    ])?;
    for kind in KINDS {
        let found = of_kind(&objects, kind);
        ensure!(found.len() == 1 && found[0]["metadata"]["labels"]["release"] == "watcher", "{found:?}");
    }
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("files/rules.yaml"))?)?;
    assert_eq!(of_kind(&objects, "PrometheusRule")[0]["spec"], rules);
    let dashboards = of_kind(&objects, "ConfigMap")[0];
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value =
        serde_json::from_str(dashboards["data"]["forward.json"].as_str().context("JSON")?)?;
    assert_eq!(dashboard["title"], "Forward");
    finds_both_programs(&objects)
}

/// The PodMonitor selects the pods of both Deployments, and the port that it names is there.
fn finds_both_programs(objects: &[Value]) -> Result<()> {
    let monitor = &of_kind(objects, "PodMonitor")[0]["spec"];
    let wanted = monitor["selector"]["matchLabels"].as_object().context("labels")?;
    let port = &monitor["podMetricsEndpoints"][0]["port"];
    for deployment in of_kind(objects, "Deployment") {
        let template = &deployment["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        ensure!(wanted.iter().all(|(key, value)| &labels[key] == value), "{labels}");
        let ports = template["spec"]["containers"][0]["ports"].as_array().context("ports")?;
        ensure!(ports.iter().any(|one| &one["name"] == port), "no port {port} in {ports:?}");
    }
    Ok(())
}

#[test]
fn mounts_certificates_and_lets_tls_in_only_where_that_is_wanted() -> Result<()> {
    let gateway = |objects: &[Value], kind: &str| -> Result<Value> {
        let found =
            of_kind(objects, kind).into_iter().find(|one| one["metadata"]["name"] == "forward-gateway");
        found.map(|one| one["spec"].clone()).with_context(|| format!("no {kind} of the gateway"))
    };
    let plain = rendered(&[])?;
    let text = format!("{}{}", gateway(&plain, "Deployment")?, gateway(&plain, "Service")?);
    ensure!(!text.contains("tls") && !text.contains("8443") && !text.contains("volume"), "{text}");
    let objects = rendered(&["gateway.tls.secretNames={shop,www.example}", "gateway.service.tlsPort=8443"])?;
    let pod = &gateway(&objects, "Deployment")?["template"]["spec"];
    let container = &pod["containers"][0];
    let arguments = container["args"].as_array().context("args")?;
    ensure!(arguments.contains(&json!("--tls-certificates=/etc/forward/tls")), "{arguments:?}");
    assert_eq!(
        container["volumeMounts"],
        json!([
            {"name": "tls-0", "mountPath": "/etc/forward/tls/00-shop", "readOnly": true},
            {"name": "tls-1", "mountPath": "/etc/forward/tls/01-www.example", "readOnly": true},
        ])
    );
    assert_eq!(pod["volumes"][1]["secret"], json!({"secretName": "www.example", "optional": true}));
    let ports = gateway(&objects, "Service")?["ports"].clone();
    assert_eq!(ports[1], json!({"name": "https", "port": 8443, "targetPort": "https"}));
    let role = of_kind(&objects, "ClusterRole");
    ensure!(!format!("{role:?}").contains("secrets"), "certificates need no right to read Secrets");
    ensure!(helm(&["template", ".", "--set", "gateway.tls.secretNames={a,a}"]).is_err(), "one twice");
    let clients = rendered(&["gateway.tls.secretNames={a}", "gateway.tls.clientCaSecretName=people"])?;
    let volume = &gateway(&clients, "Deployment")?["template"]["spec"]["volumes"][1];
    let file = json!([{"key": "ca.crt", "path": "ca.crt"}]);
    assert_eq!(volume["secret"], json!({"secretName": "people", "optional": true, "items": file}));
    ensure!(rendered(&["gateway.tls.clientCaSecretName=people"]).is_err(), "no client is ever asked");
    Ok(())
}

#[test]
fn mounts_the_keys_of_callers_with_and_without_tls() -> Result<()> {
    let values = ["gateway.apiKeys.secretNames={partners,shop.people}", "gateway.jwks.caSecretName=issuers"];
    for tls in [&[][..], &["gateway.tls.secretNames={shop}"]] {
        let objects = rendered(&[&values[..], tls].concat())?;
        let deployments = of_kind(&objects, "Deployment");
        let gateway = deployments.iter().find(|one| one["metadata"]["name"] == "forward-gateway");
        let pod = &gateway.context("the gateway")?["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let arguments = container["args"].as_array().context("args")?;
        for argument in ["--api-keys=/etc/forward/api-keys", "--jwks-ca=/etc/forward/jwks-ca/ca.crt"] {
            ensure!(arguments.contains(&json!(argument)), "{arguments:?}");
        }
        let mounts = container["volumeMounts"].as_array().context("volumeMounts")?;
        let mount =
            json!({"name": "api-keys-1", "mountPath": "/etc/forward/api-keys/shop.people", "readOnly": true});
        ensure!(mounts.len() == 3 + tls.len() && mounts.contains(&mount), "{mounts:?}");
        let volumes = pod["volumes"].as_array().context("volumes")?;
        let items = json!([{"key": "keys.yaml", "path": "keys.yaml"}]);
        let volume = json!({"name": "api-keys-0", "secret": {"secretName": "partners", "optional": true, "items": items}});
        ensure!(volumes.len() == mounts.len() && volumes.contains(&volume), "{volumes:?}");
    }
    Ok(())
}
