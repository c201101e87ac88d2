//! What holds of every schema and configuration.

use forward_config::{Pointer, Schema, fill_defaults, list, place};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// What no schema and no plain value holds.
const SECRET: &str = "hunter2";

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(1)),
        Just(json!("x")),
        Just(json!("long text"))
    ]
}

fn config() -> impl Strategy<Value = Value> {
    let inner = scalar().prop_recursive(3, 16, 3, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array), object(inner)]
    });
    object(inner)
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner, 0..3).prop_map(|fields| {
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        prop::sample::select(&["string", "integer", "object", "array", "null"][..])
            .prop_map(|t| json!({"type": t})),
        Just(json!({"type": ["string", "null"], "minLength": 2})),
        Just(json!({"pattern": "^x"})),
        Just(json!({"format": "ipv4"})),
        scalar().prop_map(|value| json!({"const": value})),
        scalar().prop_map(|value| json!({"enum": [value, "y"]})),
        scalar().prop_map(|value| json!({"default": value})),
        Just(json!({"default": {}, "properties": {"c": {"default": 1}}})),
        prop::sample::select(&NAMES[..]).prop_map(|name| json!({"required": [name]})),
        prop::sample::select(&NAMES[..]).prop_map(|name| json!({"dependentRequired": {name: ["a"]}})),
        Just(json!({"maxProperties": 1})),
        Just(json!({"uniqueItems": true, "minItems": 1})),
        Just(json!({"const": {"a": "x"}})),
        Just(json!({"if": {"properties": {"a": {"const": "x"}}}, "else": {"required": ["b"]}})),
        Just(json!({"if": {"properties": {"b": {"minLength": 2}}}, "then": {"maxProperties": 1}})),
        Just(json!({"propertyNames": {"pattern": "a"}})),
        Just(json!({"$ref": "#/$defs/shared"})),
        Just(json!(false)),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let tree = leaf().prop_recursive(4, 24, 3, |inner| {
        let pair = || (inner.clone(), inner.clone());
        prop_oneof![
            prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner.clone(), 1..3)
                .prop_map(|properties| json!({"properties": properties})),
            (inner.clone(), leaf()).prop_map(|(one, two)| merged(json!({"properties": {"a": one}}), two)),
            inner.clone().prop_map(|schema| json!({"additionalProperties": schema, "properties": {"a": {}}})),
            inner.clone().prop_map(|schema| json!({"unevaluatedProperties": false, "allOf": [schema]})),
            inner.clone().prop_map(|schema| json!({"items": schema})),
            inner.clone().prop_map(|schema| json!({"contains": schema})),
            inner.clone().prop_map(|schema| json!({"not": schema})),
            pair().prop_map(|(one, two)| json!({"allOf": [one, two]})),
            pair().prop_map(|(one, two)| json!({"anyOf": [one, two]})),
            pair().prop_map(|(one, two)| json!({"oneOf": [one, two]})),
            pair().prop_map(|(one, two)| json!({"if": one, "then": two})),
            pair().prop_map(|(one, two)| json!({"if": one, "else": two})),
            pair().prop_map(|(one, two)| json!({"dependentSchemas": {"a": one, "b": two}})),
        ]
    });
    (tree, leaf()).prop_map(|(tree, shared)| {
        let shared = if shared.get("$ref").is_some() { json!({}) } else { shared };
        json!({"allOf": [tree], "$defs": {"shared": shared}})
    })
}

fn merged(mut one: Value, two: Value) -> Value {
    if let (Some(one), Value::Object(two)) = (one.as_object_mut(), two) {
        let two: Map<_, _> = two.into_iter().filter(|(key, _)| key != "properties").collect();
        one.extend(two);
    }
    one
}

fn secrets() -> impl Strategy<Value = Vec<Pointer>> {
    let way = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3)
        .prop_map(|way| Pointer::new(way.into_iter().map(str::to_owned).collect()));
    prop::collection::vec(way, 0..3)
}

/// The configuration with a text at each place that can be reached.
fn filled(config: &Value, secrets: &[Pointer], text: &str) -> (Value, Vec<Pointer>) {
    let mut config = config.clone();
    let place_one = |secret: &&Pointer| place(&mut config, secret, text.to_owned()).is_ok();
    let placed = secrets.iter().filter(place_one).cloned().collect();
    (config, placed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_message_holds_a_secret(schema in schema(), config in config(), secrets in secrets()) {
        let schema = Schema::compile(&schema).unwrap();
        let (config, secrets) = filled(&config, &secrets, SECRET);
        let text = schema.check(&config, &secrets).iter().map(|one| format!("{one} {one:?}")).collect::<String>();
        prop_assert!(!text.contains(SECRET), "{}", text);
        prop_assert!(!list(&schema.check_unread(&config, &secrets)).contains(SECRET));
    }

    #[test]
    fn what_is_held_without_the_values_fails_with_every_value(
        schema in schema(), config in config(), secrets in secrets(),
    ) {
        let schema = Schema::compile(&schema).unwrap();
        let (_, reachable) = filled(&config, &secrets, "");
        let held = schema.check_unread(&config, &reachable);
        for text in ["", "x", "y", "long text", "127.0.0.1", SECRET] {
            let (config, placed) = filled(&config, &reachable, text);
            let found = schema.check(&config, &placed);
            prop_assert!(held.is_empty() || !found.is_empty(), "{} is held, and {:?} would do", list(&held), text);
        }
    }

    #[test]
    fn both_checks_agree_where_nothing_is_secret(schema in schema(), config in config()) {
        let schema = Schema::compile(&schema).unwrap();
        prop_assert_eq!(schema.check(&config, &[]), schema.check_unread(&config, &[]));
    }

    #[test]
    fn defaults_change_nothing_a_second_time_and_nothing_that_is_there(schema in schema(), config in config()) {
        let mut once = config.clone();
        fill_defaults(&schema, &mut once);
        let mut twice = once.clone();
        fill_defaults(&schema, &mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert!(is_within(&config, &once), "{} is not within {}", config, once);
    }
}

fn is_within(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.iter().all(|(name, value)| after.get(name).is_some_and(|after| is_within(value, after)))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len()
                && before.iter().zip(after).all(|(before, after)| is_within(before, after))
        }
        (before, after) => before == after,
    }
}
