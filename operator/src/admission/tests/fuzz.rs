//! Whatever is sent is answered. `PROPTEST_CASES` says how many times it is tried.

use std::{env, sync::LazyLock};

use proptest::{prelude::*, sample::Index as Place};

use super::*;

/// The value of a variable of the operator, which nobody is told.
const HIDDEN: &str = "hunter2";
/// Words that mean something in a schema, a review or a plugin, as keys and as values.
const WORDS: [&str; 32] = [
    "properties",
    "additionalProperties",
    "patternProperties",
    "required",
    "type",
    "object",
    "string",
    "$ref",
    "#",
    "#/properties/secret",
    "$defs",
    "allOf",
    "anyOf",
    "if",
    "then",
    "items",
    "pattern",
    "^(a|aa)+$",
    "default",
    "const",
    "minLength",
    "secret",
    "limits",
    "path",
    "/limits/amount",
    "/secret",
    "name",
    "version",
    ">=2, <1",
    "cart",
    "DELETE",
    "Scale",
];

/// One who knows some plugins, one of them the one that is asked about, and overrides it.
static KNOWN: LazyLock<Reviewer> = LazyLock::new(|| {
    let known = reviewer(&[]);
    let variables = ["CHECKOUT_CONFIG_SECRET", "CHECKOUT_CONFIG_LIMITS_ENABLED", "A_CONFIG_B"];
    let variables = variables.map(|name| (format!("GOFORWARD_PLUGINS_{name}"), HIDDEN.to_owned()));
    let mut index = Index::new(Overrides::read(variables).0);
    for plugin in [plugin("inventory", json!({})), plugin("cart", needs("checkout", "^1")), checkout()] {
        index.apply(Object::Plugin(Arc::new(serde_json::from_value(plugin).unwrap())));
    }
    Reviewer { index: Arc::new(Mutex::new(index)), ..known }
});

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = if env::var_os("PROPTEST_CASES").is_some() { given.cases } else { 1_000 };
    ProptestConfig { failure_persistence: None, cases, ..given }
}

/// A plugin that has something of everything.
fn checkout() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["secret"],
        "properties": {
            "secret": {"type": "string", "maxLength": 4},
            "limits": {"$ref": "#/$defs/limits"},
            "key": {"pattern": "^sk_"},
        },
        "$defs": {"limits": {"properties": {"amount": {"type": "integer", "default": 3}}, "additionalProperties": false}},
    });
    let source = json!([{"path": "/key", "secretKeyRef": {"name": "stripe", "key": "key"}}]);
    let spec = json!({
        "dependencies": [{"name": "inventory", "version": "^2"}, {"name": "cart"}],
        "http": {"routes": [{"path": "/a"}]},
        "config": {"limits": {"ammount": 1}},
        "configSchema": schema,
        "configFrom": source,
    });
    let mut checkout = plugin("checkout", spec);
    checkout["status"] =
        json!({"configSchema": {"image": "example/plugin:1", "schema": "{\"required\": [\"a\"]}"}});
    checkout
}

/// Everything that JSON can be, in small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), object(inner)]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let key = prop_oneof!["[a-z]{1,8}", prop::sample::select(&WORDS[..]).prop_map(str::to_owned)];
    prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// All places of a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (place, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{place}"), found);
            }
        }
        _ => {}
    }
}

/// Put values to places of a document.
fn change(document: &mut Value, changes: Vec<(Place, Value)>) {
    for (place, value) in changes {
        let mut found = Vec::new();
        pointers(document, "", &mut found);
        let pointer: &String = place.get(&found);
        *document.pointer_mut(pointer).unwrap() = value;
    }
}

/// Whatever is sent, the answer is that it is no review, or a review with an answer that can be sent,
/// and none that tells what is not to be told.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(answer) = KNOWN.review(body) else { return Ok(()) };
    let response = answer.response.as_ref().unwrap();
    let said: usize = response.warnings.iter().flatten().map(|warning| warning.chars().count()).sum();
    prop_assert!(said < 4_096);
    prop_assert!(response.allowed || !response.result.message.is_empty());
    let text = serde_json::to_string(&answer).unwrap();
    prop_assert!(!text.contains(HIDDEN), "{text}");
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body)?;
    }

    #[test]
    fn any_change_to_a_review_is_answered(
        operation in prop::sample::select(vec!["CREATE", "UPDATE", "DELETE"]),
        changes in prop::collection::vec((any::<Place>(), any_json()), 0..4),
        cut in prop::option::weighted(0.1, any::<Place>()),
    ) {
        let mut review = review(operation, checkout(), checkout());
        change(&mut review, changes);
        let mut body = serde_json::to_vec(&review).unwrap();
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        check(&body)?;
    }

    #[test]
    fn any_plugin_is_answered(
        config in object(any_json()), schema in object(any_json()),
        changes in prop::collection::vec((any::<Place>(), any_json()), 0..3),
        announced in any::<bool>(),
    ) {
        let mut plugin = checkout();
        plugin["spec"]["config"] = config;
        if announced {
            plugin["spec"].as_object_mut().unwrap().remove("configSchema");
            plugin["status"]["configSchema"]["schema"] = schema.to_string().into();
        } else {
            plugin["spec"]["configSchema"] = schema;
        }
        change(&mut plugin["spec"], changes);
        check(&serde_json::to_vec(&review("UPDATE", plugin, checkout())).unwrap())?;
    }

    #[test]
    fn any_bytes_within_a_review_are_answered(
        edits in prop::collection::vec((any::<Place>(), any::<u8>()), 1..6),
    ) {
        let mut body = serde_json::to_vec(&review("UPDATE", checkout(), plugin("checkout", json!({})))).unwrap();
        for (place, byte) in edits {
            let at = place.index(body.len());
            body[at] = byte;
        }
        check(&body)?;
    }
}
