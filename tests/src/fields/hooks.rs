//! What the fields of a hook can be set to.

use serde_json::{Value, json};

use super::Table;

/// A Job and a call, which have something in every field and list. Together they have every field that
/// there is.
pub fn bases() -> [Value; 2] {
    let variables = json!([
        {"name": "ONE", "value": "one"},
        {"name": "TWO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    let job = json!({"image": "forward.local/one", "command": ["one"], "args": ["one"], "env": variables});
    [
        json!({"job": job, "timeout": "5s", "failurePolicy": "Continue"}),
        json!({"http": {"service": "one", "port": 8080, "path": "/one"}, "timeout": "5s",
               "failurePolicy": "Continue"}),
    ]
}

/// The values.
pub fn table() -> Table {
    Table::new([
        ("job.image", json!(["other.local/a/b"]), json!(["UPPER", "a:b:c", ""])),
        ("job.command[]", json!(["other"]), json!([])),
        ("job.args[]", json!(["other"]), json!([])),
        ("job.env[].name", json!(["OTHER"]), json!(["GOFORWARD_A"])),
        ("job.env[].value", json!(["other"]), json!([])),
        // Kubernetes's own type, which is passed on as it is.
        ("job.env[].valueFrom", json!([{"fieldRef": {"fieldPath": "metadata.uid"}}]), json!([])),
        ("http.service", json!(["other"]), json!(["Upper", "a.b", ""])),
        ("http.path", json!(["/other"]), json!(["other", "/a b", ""])),
        ("timeout", json!(["7s"]), json!(["7", "soon", "-1s", "0s"])),
    ])
}
