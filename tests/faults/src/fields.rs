//! What the fields of both kinds can be set to while an operator looks on.

use forward_tests::fields::Table;
use serde_json::{Value, json};

/// Hooks are wholes, as nothing runs in these pods: what is in them is tried in operator/src/hooks/fields.rs.
const HOOKS: [&str; 9] = [
    "beforeLoad",
    "afterLoad",
    "beforeInitialize",
    "afterInitialize",
    "beforeStart",
    "afterStart",
    "beforeStop",
    "afterStop",
    "onError",
];

/// A call of nobody, which is soon given up and gone past.
fn call() -> Value {
    json!({"http": {"service": "nobody"}, "timeout": "1s", "failurePolicy": "Continue"})
}

/// No hook does two things.
fn both() -> Value {
    json!({"http": {"service": "nobody"}, "job": {"command": ["nothing"]}})
}

/// The values of a Plugin's fields: those that converge or are explained, and those that the API
/// server refuses.
pub fn of_plugin() -> Table {
    Table::new([
        ("version", json!(["1.1.0", "2.0.0-rc.1"]), json!(["1.0", "latest", ""])),
        (
            "image",
            json!(["forward.local/testbed:1.1.0", "other.local/a/b"]),
            json!(["UPPER", "a:b:c", ""]),
        ),
        ("info.description", json!(["other"]), json!([])),
        ("info.author", json!(["other"]), json!([])),
        ("info.license", json!(["MIT"]), json!([])),
        ("info.homepage", json!(["https://other.example"]), json!([])),
        ("info.repository", json!(["https://other.example"]), json!([])),
        // The third one does not fit its schema.
        ("config", json!([{"limit": 4}, {"limit": "many"}]), json!([])),
        ("configSchema", json!([{"required": ["absent"]}, {"type": "nonsense"}]), json!([])),
        ("configFrom[].path", json!(["/other"]), json!(["other", "", "/"])),
        ("configFrom[].secretKeyRef.name", json!(["other"]), json!([])),
        ("configFrom[].secretKeyRef.key", json!(["other"]), json!([])),
        ("configFrom[].configMapKeyRef.name", json!(["other"]), json!([])),
        ("configFrom[].configMapKeyRef.key", json!(["other"]), json!([])),
        ("dependencies[].name", json!(["second", "absent"]), json!(["Upper", "1a", ""])),
        ("dependencies[].version", json!(["~1.0.0", "^2.0"]), json!(["latest", "1.2.3.4", ""])),
        ("http.routes[].host", json!(["shop.example"]), json!(["Upper", "a/b"])),
        ("http.routes[].method", json!(["POST"]), json!(["post", "FETCH"])),
        ("http.routes[].path", json!(["/other/:id"]), json!(["other", "/a b", "/*rest/more"])),
        // As a whole, as no gateway answers: what is in it is tried in plan/tests/middleware_fields.rs.
        (
            "http.middleware",
            json!([[{"name": "one", "headers": {"request": {"remove": ["x-one"]}}}]]),
            json!([]),
        ),
        // As a whole, too: its tests are in gateway/tests.
        ("providesMiddleware", json!([[{"name": "one", "phase": "Observe"}]]), json!([])),
        ("health.path", json!(["/healthz"]), json!(["healthz"])),
        ("health.interval", json!(["7s", "1m"]), json!(["7", "soon", "-1s", "999ms"])),
        ("health.timeout", json!(["3s"]), json!(["3", "soon", "-1s"])),
        ("sandbox.memory", json!(["64Mi", "1Gi"]), json!(["0", "-1Mi", "much"])),
        ("sandbox.cpu", json!(["100m", 2]), json!(["0", "-1", "much"])),
        ("sandbox.tmpSize", json!(["16Mi"]), json!(["0", "much"])),
        ("sandbox.timeout", json!(["7s"]), json!(["7", "soon"])),
        ("sandbox.network.egress[].plugin", json!(["second"]), json!(["Upper"])),
        ("sandbox.network.egress[].pods", json!([{"app": "other"}]), json!([])),
        (
            "sandbox.network.egress[].cidr",
            json!(["10.0.0.0/7"]),
            json!(["10.0.0.0", "10.0.0.1/8", "here"]),
        ),
        ("sandbox.network.egress[].except[]", json!(["10.2.0.0/16"]), json!(["11.0.0.0/16", "here"])),
        ("template.labels", json!([{"team": "other"}]), json!([{"goforward.dev/a": "b"}])),
        ("template.annotations", json!([{"team": "other"}]), json!([{"goforward.dev/a": "b"}])),
        ("template.env[].name", json!(["OTHER", "1=2"]), json!(["GOFORWARD_A"])),
        ("template.env[].value", json!(["other"]), json!([])),
        // Kubernetes's own types, which are passed on as they are.
        ("template.env[].valueFrom", json!([{"fieldRef": {"fieldPath": "metadata.uid"}}]), json!([])),
        (
            "template.affinity",
            json!([{"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]}}]),
            json!([]),
        ),
        (
            "template.topologySpreadConstraints",
            json!([[{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}]]),
            json!([]),
        ),
        ("template.imagePullSecrets[].name", json!(["other"]), json!([])),
        (
            "template.nodeSelector",
            json!([{"kubernetes.io/os": "linux"}, {"a": "no node has"}]),
            json!([]),
        ),
        ("template.priorityClassName", json!(["forward-faults", "not-allowed"]), json!([])),
        ("template.serviceAccountName", json!(["spare", "not-allowed"]), json!([])),
        ("template.tolerations[].effect", json!(["NoSchedule", "Nonsense"]), json!([])),
        ("template.tolerations[].key", json!(["not-allowed"]), json!([])),
        ("template.tolerations[].operator", json!(["Nonsense"]), json!([])),
        ("template.tolerations[].value", json!(["other"]), json!([])),
    ])
    .with("hooks.", HOOKS.map(|hook| (hook, json!([call()]), json!([{}, both()]))))
}

/// The values of a PluginSystem's fields.
pub fn of_system() -> Table {
    Table::new([
        // As a whole: its tests are in gateway/tests/alerts.
        (
            "alerts",
            json!([{"receivers": [{"name": "one", "webhook": {"url": "https://one.example"}}]}]),
            json!([]),
        ),
        ("hosts[]", json!(["other.example"]), json!(["Upper", "a/b"])),
        (
            "imagePrefixes[]",
            json!(["other.local/a"]),
            json!(["forward", "forward.local/", "forward.local/a:1"]),
        ),
        ("middleware", json!([[{"name": "one", "headers": {"request": {"remove": ["x-one"]}}}]]), json!([])),
        ("middlewareFrom[]", json!(["other"]), json!(["Upper", "1a", ""])),
        ("timeout", json!(["9s"]), json!(["9", "soon"])),
        ("sandbox.memory", json!(["80Mi"]), json!(["0", "much"])),
        ("sandbox.cpu", json!(["200m"]), json!(["0", "much"])),
        ("templates.serviceAccountNames[]", json!(["other"]), json!([])),
        ("templates.priorityClassNames[]", json!(["other"]), json!([])),
        ("templates.tolerationKeys[]", json!(["other"]), json!([])),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use forward_tests::fields::{Field, fields};

    use super::*;

    #[test]
    fn finds_fields_in_objects_and_lists() {
        let found: Vec<_> =
            fields("Plugin", &Table::default()).unwrap().iter().map(Field::to_string).collect();
        for field in [
            "version",
            "sandbox",
            "sandbox.memory",
            "dependencies",
            "dependencies[].name",
            "sandbox.network.egress[].except[]",
        ] {
            assert!(found.iter().any(|it| it == field), "{field} is not among {found:#?}");
        }
        assert!(!found.iter().any(|it| it == "dependencies[]"));
    }

    #[test]
    fn something_is_known_to_set_each_field_to_and_nothing_for_others() {
        for (kind, table) in [("Plugin", of_plugin()), ("PluginSystem", of_system())] {
            let fields = fields(kind, &table).unwrap();
            assert_eq!(table.unknown(&fields), Vec::<&str>::new(), "{kind}");
            for field in fields.iter().filter(|field| field.leaf) {
                let values = table.valid(field, None).unwrap();
                assert!(!values.is_empty(), "{kind}: {field}");
            }
        }
    }

    #[test]
    fn changes_the_entry_that_has_the_field() {
        let fields = fields("Plugin", &Table::default()).unwrap();
        let field = |name: &str| fields.iter().find(|it| it.to_string() == name).unwrap();
        let spec = json!({"configFrom": [{"path": "/a"}, {"path": "/b", "secretKeyRef": {"name": "c", "key": "d"}}]});
        let name = field("configFrom[].secretKeyRef.name");
        let changed = name.changed(&spec, Some(&json!("e"))).unwrap();
        assert_eq!(changed["configFrom"][1]["secretKeyRef"]["name"], "e");
        assert_eq!(changed["configFrom"][0], spec["configFrom"][0]);
        assert_eq!(
            field("health.interval").changed(&json!({}), Some(&json!("5s"))).unwrap(),
            json!({"health": {"interval": "5s"}})
        );
        assert_eq!(field("configFrom").changed(&spec, None).unwrap(), json!({}));
    }
}
