//! What the API server and the controllers of a cluster make of an object that is written, as far as it
//! is in the way of whoever reads it: its size most of all.

use serde_json::{Map, Value, json};

/// That of the plugins.
pub const PLUGINS: &str = "bench";
/// The operator's own.
pub const NAMESPACE: &str = "forward-system";
/// Its webhook's.
pub const WEBHOOK: &str = "forward-operator-webhook";

const TIME: &str = "2026-01-01T00:00:00Z";

/// A kind of objects.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub plural: &'static str,
    pub version: &'static str,
    pub name: &'static str,
}

const fn kind(plural: &'static str, version: &'static str, name: &'static str) -> Kind {
    Kind { plural, version, name }
}

/// What the operator asks for.
pub static KINDS: [Kind; 14] = [
    kind("plugins", "goforward.dev/v1alpha1", "Plugin"),
    kind("pluginsystems", "goforward.dev/v1alpha1", "PluginSystem"),
    kind("deployments", "apps/v1", "Deployment"),
    kind("services", "v1", "Service"),
    kind("serviceaccounts", "v1", "ServiceAccount"),
    kind("configmaps", "v1", "ConfigMap"),
    kind("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    kind("poddisruptionbudgets", "policy/v1", "PodDisruptionBudget"),
    kind("pods", "v1", "Pod"),
    kind("jobs", "batch/v1", "Job"),
    kind("secrets", "v1", "Secret"),
    kind("leases", "coordination.k8s.io/v1", "Lease"),
    kind(
        "validatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    ),
    kind("events", "events.k8s.io/v1", "Event"),
];

/// That of a plural.
pub fn kind_of(plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural)
}

/// The uid of an object of a plugin, or of something else: as long as uids are, and with its name in it.
pub fn uid(plural: &str, name: &str) -> String {
    let name: String = name.chars().take(12).collect();
    format!("{plural:-<24.24}{name:-<12}")
}

/// An object of which nothing is known yet.
pub fn fresh(kind: &Kind, name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": kind.version,
        "kind": kind.name,
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid(kind.plural, name), "generation": 1,
            "creationTimestamp": TIME,
        },
    })
}

/// Fill in what the API server does, and what a controller says of an object.
pub fn complete(kind: &Kind, object: &mut Value) {
    match kind.plural {
        "services" => fill(
            &mut object["spec"],
            json!({"clusterIP": "10.96.117.43", "clusterIPs": ["10.96.117.43"], "internalTrafficPolicy": "Cluster",
                   "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                   "type": "ClusterIP"}),
        ),
        "deployments" => {
            complete_pod(&mut object["spec"]["template"]["spec"]);
            object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1".into();
            object["status"] = json!({
                "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
                "conditions": [
                    {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "lastUpdateTime": TIME,
                     "lastTransitionTime": TIME, "message": "Deployment has minimum availability."},
                    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "lastUpdateTime": TIME,
                     "lastTransitionTime": TIME, "message": "ReplicaSet has successfully progressed."},
                ],
            });
        }
        _ => {}
    }
}

fn complete_pod(spec: &mut Value) {
    fill(
        spec,
        json!({"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}),
    );
    let container =
        json!({"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"});
    fill(&mut spec["containers"][0], container);
}

fn fill(object: &mut Value, defaults: Value) {
    if let (Some(object), Value::Object(defaults)) = (object.as_object_mut(), defaults) {
        for (key, value) in defaults {
            object.entry(key).or_insert(value);
        }
    }
}

/// The pod of a Deployment of one, ready.
pub fn pod(kind: &Kind, deployment: &Value) -> Value {
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let set = format!("{name}-5d4f8c7b96");
    let mut pod = fresh(kind, &format!("{set}-x7k2p"), PLUGINS);
    let template = &deployment["spec"]["template"];
    pod["metadata"]["labels"] = template["metadata"]["labels"].clone();
    pod["metadata"]["labels"]["pod-template-hash"] = "5d4f8c7b96".into();
    pod["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
    pod["metadata"]["generateName"] = format!("{set}-").into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": uid("replicasets", name),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    pod["spec"] = template["spec"].clone();
    let tolerate = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let tolerations = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(tolerate);
    fill(
        &mut pod["spec"],
        json!({"nodeName": "node-1", "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
                                  "serviceAccount": name, "tolerations": tolerations}),
    );
    let types = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let conditions = types.map(|type_| {
        json!({"type": type_, "status": "True", "lastProbeTime": null, "lastTransitionTime": TIME,
               "observedGeneration": 1})
    });
    let image = &template["spec"]["containers"][0]["image"];
    pod["status"] = json!({
        "phase": "Running", "conditions": conditions, "hostIP": "10.0.0.2", "hostIPs": [{"ip": "10.0.0.2"}],
        "podIP": "10.0.3.17", "podIPs": [{"ip": "10.0.3.17"}], "qosClass": "Burstable", "startTime": TIME,
        "containerStatuses": [{
            "name": "plugin", "image": image, "ready": true, "started": true, "restartCount": 0,
            "imageID": format!("registry.example/plugin@sha256:{}", "0".repeat(64)),
            "containerID": format!("containerd://{}", "0".repeat(64)),
            "state": {"running": {"startedAt": TIME}}, "lastState": {},
        }],
    });
    pod
}

/// What `metadata.managedFields` says where one manager wrote all of it but the status.
pub fn managed_fields(kind: &Kind, object: &Value) -> Value {
    let entry = |manager: &str, part: Value| {
        json!({"apiVersion": kind.version, "fieldsType": "FieldsV1", "fieldsV1": part, "manager": manager,
               "operation": "Apply", "time": TIME})
    };
    let (mut written, mut said) = (Map::new(), Map::new());
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "status" => drop(said.insert("f:status".to_owned(), fields(value))),
            "metadata" => {
                let written_of = ["annotations", "finalizers", "labels", "ownerReferences"];
                let parts = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| written_of.contains(&key.as_str()));
                let parts = parts.map(|(key, value)| (format!("f:{key}"), fields(value)));
                written.insert("f:metadata".to_owned(), parts.collect());
            }
            _ => drop(written.insert(format!("f:{key}"), fields(value))),
        }
    }
    let mut entries = vec![entry("forward-operator", Value::Object(written))];
    if !said.is_empty() {
        entries.push(entry("kube-controller-manager", Value::Object(said)));
    }
    entries.into()
}

/// The fields of a value; of a list those of its entries, where these have names or types.
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (format!("f:{key}"), fields(value))).collect()
        }
        Value::Array(entries) => {
            let key = |entry: &Value| {
                let key = ["name", "type"].into_iter().find(|key| entry.get(key).is_some())?;
                Some(format!("k:{}", json!({key: entry[key]})))
            };
            entries.iter().filter_map(|entry| Some((key(entry)?, fields(entry)))).collect()
        }
        _ => json!({}),
    }
}
