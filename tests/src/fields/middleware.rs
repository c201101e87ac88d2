//! What the fields of an entry of middleware can be set to.

use serde_json::{Value, json};

use super::{Entry, Table};

/// Headers that can be none, and those that are the gateway's.
const NO_HEADERS: [&str; 4] = ["X One", "Host", "X-Forwarded-For", ""];
const NO_DURATIONS: [&str; 4] = ["7", "soon", "-1s", "0s"];

/// Entries that each do one thing, and have something in every field and list of it. Together they have
/// every field that there is.
pub fn bases() -> Vec<Value> {
    let changes = || json!({"remove": ["X-One"], "set": [{"name": "X-Two", "value": "one"}], "add": [{"name": "X-Three", "value": "one"}]});
    let respond = || json!({"status": 503, "body": "one", "contentType": "text/html"});
    let jwt = |keys: &str, value: Value, algorithm: &str| {
        json!({"issuer": "one", "audiences": ["one"], "algorithms": [algorithm], keys: value, "clockSkew": "10s",
               "subjectClaim": "one", "permissionsClaim": "one", "header": "X-One", "forward": false,
               "optional": false})
    };
    let kinds = [
        ("ipFilter", json!({"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]})),
        (
            "cors",
            json!({"origins": ["https://one.example"], "methods": ["GET"], "headers": ["X-One"],
                   "exposeHeaders": ["X-One"], "credentials": false, "maxAge": "5s"}),
        ),
        (
            "apiKey",
            json!({"keys": "one", "header": "X-One", "query": "one", "forward": false, "optional": false}),
        ),
        ("jwt", jwt("jwksUrl", json!("https://one.example/keys"), "RS256")),
        ("jwt", jwt("jwks", jwks("A"), "EdDSA")),
        ("permissions", json!({"require": ["one:read"]})),
        ("rateLimit", json!({"requests": 10, "per": "2s", "burst": 1, "by": "Address"})),
        ("rateLimit", json!({"requests": 10, "by": "Header", "header": "X-One"})),
        ("bodyLimit", json!({"maxBytes": 10})),
        ("timeout", json!({"answer": "2s", "stall": "3s"})),
        (
            "circuitBreaker",
            json!({"failures": 3, "statuses": [503], "ejection": "11s", "longestEjection": "2m",
                   "maxEjectedPercent": 40}),
        ),
        (
            "retry",
            json!({"attempts": 3, "causes": ["Timeout"], "statuses": [503], "hedgeAfter": "1s", "budgetPercent": 30}),
        ),
        ("concurrency", json!({"max": 10})),
        ("concurrency", json!({"priority": "Low"})),
        ("validate", json!({"body": {"schema": {"type": "object"}, "maxBytes": 1024, "optional": false}})),
        ("headers", json!({"request": changes(), "response": changes()})),
        ("redirect", json!({"scheme": "https", "host": "one.example", "path": "/one", "status": 307})),
        ("respond", respond()),
        ("fallback", json!({"respond": respond()})),
        ("fallback", json!({"plugin": "one"})),
        ("compress", json!({"minBytes": 10, "types": ["text/html"]})),
        ("log", json!({"percent": 5})),
    ];
    let entry = |(kind, what): (&str, Value)| {
        let mut entry = json!({"name": "one", "priority": 3, kind: what});
        // The one kind that is for all routes.
        if kind != "circuitBreaker" {
            entry["routes"] = json!([{"path": "/one", "method": "GET"}]);
        }
        entry
    };
    kinds.into_iter().map(entry).collect()
}

/// A set of one key of Ed25519, which begins so.
fn jwks(begin: &str) -> Value {
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": format!("{begin}{}", "A".repeat(42))}]})
}

/// Values that the schema and its rules take and that mean nothing: the gateway refuses the entry, and the
/// plugin's status says why.
pub fn meaningless() -> Vec<(&'static str, Value)> {
    vec![("jwt.jwks", json!({"keys": []})), ("validate.body.schema", json!({"type": "nonsense"}))]
}

/// The values.
pub fn table() -> Table {
    Table::new(common())
        .with("", callers())
        .with("", limits())
        .with("", transforms())
        .with("headers.request.", changes())
        .with("headers.response.", changes())
        .with("respond.", respond())
        .with("fallback.respond.", respond())
}

fn common() -> [Entry; 5] {
    [
        ("name", json!(["other"]), json!(["Upper", "1a", ""])),
        ("routes[].path", json!(["/other/:id"]), json!(["other", "/a b", "/*rest/more"])),
        ("routes[].method", json!(["POST"]), json!(["post", "FETCH"])),
        ("ipFilter.allow[]", json!(["192.0.2.0/24", "fd00::/8"]), json!(["10.0.0.0", "10.0.0.1/8", "here"])),
        ("ipFilter.deny[]", json!(["192.0.2.0/24"]), json!(["10.0.0.0", "10.0.0.1/8", "here"])),
    ]
}

fn callers() -> [Entry; 19] {
    [
        (
            "cors.origins[]",
            json!(["https://other.example:8443", "*"]),
            json!(["null", "https://one.example/", "HTTPS://one.example"]),
        ),
        ("cors.methods[]", json!(["POST"]), json!(["get", ""])),
        ("cors.headers[]", json!(["X-Other"]), json!(["X One", ""])),
        ("cors.exposeHeaders[]", json!(["X-Other"]), json!(["X One", ""])),
        ("cors.maxAge", json!(["7s"]), json!(NO_DURATIONS)),
        ("apiKey.keys", json!(["other"]), json!(["Other", "a/b"])),
        ("apiKey.header", json!(["Authorization"]), json!(NO_HEADERS)),
        ("apiKey.query", json!(["other"]), json!(["a b"])),
        ("jwt.issuer", json!(["other"]), json!([])),
        ("jwt.audiences[]", json!(["other"]), json!([])),
        ("jwt.jwksUrl", json!(["https://other.example/keys"]), json!(["http://one.example/keys", "one"])),
        ("jwt.jwks", json!([jwks("B")]), json!([])),
        ("jwt.clockSkew", json!(["1m"]), json!(["7", "soon", "6m"])),
        ("jwt.subjectClaim", json!(["/other"]), json!([])),
        ("jwt.permissionsClaim", json!(["/other"]), json!([])),
        ("jwt.header", json!(["Authorization"]), json!(NO_HEADERS)),
        ("permissions.require[]", json!(["other:read"]), json!(["two words", "a\"b"])),
        // Not by a header: that needs another field.
        ("rateLimit.by", json!(["Everyone"]), json!([])),
        ("rateLimit.header", json!(["X-Other"]), json!(["X One"])),
    ]
}

fn limits() -> [Entry; 6] {
    [
        ("rateLimit.per", json!(["7s"]), json!(["7", "soon", "0s", "25h"])),
        ("timeout.answer", json!(["7s"]), json!(NO_DURATIONS)),
        ("timeout.stall", json!(["7s"]), json!(NO_DURATIONS)),
        ("retry.hedgeAfter", json!(["7s"]), json!(NO_DURATIONS)),
        ("circuitBreaker.ejection", json!(["12s"]), json!(["7", "soon", "0s", "25h"])),
        // The last one is shorter than the first ejection.
        ("circuitBreaker.longestEjection", json!(["3m"]), json!(["7", "soon", "25h", "10s"])),
    ]
}

fn transforms() -> [Entry; 6] {
    [
        ("validate.body.schema", json!([{"type": "array"}]), json!([])),
        ("redirect.host", json!(["other.example:8443"]), json!(["Upper", "a/b"])),
        ("redirect.path", json!(["/other"]), json!(["other", "/a?b", "//other.example"])),
        ("redirect.status", json!([301, 302, 303, 308]), json!([300, 304, 200])),
        ("fallback.plugin", json!(["other"]), json!(["Upper", "1a", ""])),
        ("compress.types[]", json!(["image/*"]), json!(["text", "*/*"])),
    ]
}

fn changes() -> [Entry; 5] {
    [
        ("remove[]", json!(["X-Other"]), json!(NO_HEADERS)),
        ("set[].name", json!(["X-Other"]), json!(NO_HEADERS)),
        ("set[].value", json!(["other"]), json!([" one", "a\nb"])),
        ("add[].name", json!(["X-Other"]), json!(NO_HEADERS)),
        ("add[].value", json!(["other"]), json!([" one", "a\nb"])),
    ]
}

fn respond() -> [Entry; 2] {
    [
        ("body", json!(["other"]), json!([])),
        ("contentType", json!(["application/json"]), json!(["nonsense", "Text/html"])),
    ]
}
