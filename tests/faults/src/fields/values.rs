//! What fields can be set to: by their type where that says enough, and by this one table where it
//! does not.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Field;

/// Values of fields, by their names.
#[derive(Debug, Default)]
pub struct Table(Vec<(&'static str, Value, Value)>);

impl Table {
    /// The values of a Plugin's fields: those that converge or are explained, and those that the API
    /// server refuses.
    pub fn of_plugin() -> Self {
        Self(vec![
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
            // As wholes, as nothing runs in these pods and no gateway answers: what is in them has its
            // tests in plan/tests/dynamics/hooks.rs and gateway/tests/traffic/middleware.
            ("hooks", json!([{"onError": {"http": {"service": "nobody"}}}]), json!([])),
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
    }

    /// The values of a PluginSystem's fields.
    pub fn of_system() -> Self {
        Self(vec![
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
            (
                "middleware",
                json!([[{"name": "one", "headers": {"request": {"remove": ["x-one"]}}}]]),
                json!([]),
            ),
            ("middlewareFrom[]", json!(["other"]), json!(["Upper", "1a", ""])),
            ("timeout", json!(["9s"]), json!(["9", "soon"])),
            ("sandbox.memory", json!(["80Mi"]), json!(["0", "much"])),
            ("sandbox.cpu", json!(["200m"]), json!(["0", "much"])),
            ("templates.serviceAccountNames[]", json!(["other"]), json!([])),
            ("templates.priorityClassNames[]", json!(["other"]), json!([])),
            ("templates.tolerationKeys[]", json!(["other"]), json!([])),
        ])
    }

    /// Whether it has values of a field.
    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(name, _, _)| *name == field)
    }

    /// Entries for fields that are not there.
    pub fn unknown(&self, fields: &[Field]) -> Vec<&'static str> {
        let is_field = |name: &str| fields.iter().any(|field| field.to_string() == name);
        self.0.iter().map(|(name, _, _)| *name).filter(|name| !is_field(name)).collect()
    }

    /// Values that a field can be set to, other than the one that it has.
    ///
    /// # Errors
    /// A field about which neither its type nor the table says enough.
    pub fn valid(&self, field: &Field, now: Option<&Value>) -> Result<Vec<Value>> {
        let default = field.schema.get("default");
        let mut values = self.valid_by_name(field).or_else(|| valid_by_type(&field.schema)).with_context(|| {
            format!("nothing is known to set {field} to: add it to the table in tests/faults/src/fields/values.rs")
        })?;
        values.retain(|value| Some(value) != now.or(default));
        Ok(values)
    }

    /// Values that the API server does not take for a field.
    pub fn invalid(&self, field: &Field) -> Vec<Value> {
        let mut values = invalid_by_type(&field.schema);
        if let Some((_, _, invalid)) = self.0.iter().find(|(name, _, _)| *name == field.to_string()) {
            values.extend(invalid.as_array().cloned().unwrap_or_default());
        }
        values
    }

    fn valid_by_name(&self, field: &Field) -> Option<Vec<Value>> {
        let (_, valid, _) = self.0.iter().find(|(name, _, _)| *name == field.to_string())?;
        valid.as_array().cloned()
    }
}

fn valid_by_type(schema: &Value) -> Option<Vec<Value>> {
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.clone());
    }
    match schema["type"].as_str()? {
        "boolean" => Some(vec![json!(true), json!(false)]),
        "integer" => {
            let least = schema["minimum"].as_f64().map_or(1, |least| least as i64);
            let default = schema["default"].as_i64().unwrap_or(least);
            Some(vec![json!(default + 1), json!(least)])
        }
        _ => None,
    }
}

fn invalid_by_type(schema: &Value) -> Vec<Value> {
    let mut values = match schema["type"].as_str() {
        Some("string") => vec![json!(5)],
        Some("boolean" | "integer" | "object") => vec![json!("nonsense")],
        Some("array") => vec![json!("nonsense")],
        _ => vec![json!(true)],
    };
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    values.extend(bound("minimum").map(|least| json!(least - 1)));
    values.extend(bound("maximum").map(|most| json!(most + 1)));
    values.extend(bound("maxLength").map(|most| json!("a".repeat(usize::try_from(most).unwrap_or(0) + 1))));
    values.extend(bound("minLength").filter(|least| *least > 0).map(|_| json!("")));
    if schema["enum"].is_array() {
        values.push(json!("Nonsense"));
    }
    values
}
