//! What is said of configurations, word for word.

use forward_config::{Pointer, Schema, Violation, fill_defaults, list};
use serde_json::{Value, json};

fn compile(schema: &Value) -> Schema {
    Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn pointers(texts: &[&str]) -> Vec<Pointer> {
    texts.iter().map(|text| Pointer::try_from((*text).to_owned()).expect("a test writes a pointer")).collect()
}

fn lines(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

/// With all values known.
fn check(schema: &Value, config: &Value, secrets: &[&str]) -> Vec<String> {
    lines(&compile(schema).check(config, &pointers(secrets)))
}

/// With those at `secrets` unknown.
fn check_unread(schema: &Value, config: &Value, secrets: &[&str]) -> Vec<String> {
    lines(&compile(schema).check_unread(config, &pointers(secrets)))
}

fn refused(schema: &Value) -> String {
    match Schema::compile(schema) {
        Ok(_) => panic!("{schema} is accepted"),
        Err(error) => error.to_string(),
    }
}

fn payments() -> Value {
    json!({
        "type": "object",
        "required": ["currency", "stripe"],
        "additionalProperties": false,
        "properties": {
            "currency": {"enum": ["EUR", "USD"]},
            "max_amount": {"type": "integer", "minimum": 1, "maximum": 5000},
            "callback": {"type": "string", "format": "uri", "pattern": "^https:"},
            "stripe": {
                "type": "object",
                "required": ["key"],
                "properties": {"key": {"type": "string", "pattern": "^sk_"}, "retries": {"type": "integer"}},
            },
        },
    })
}

#[test]
fn tells_everything_at_once_with_place_rule_and_value() {
    let config = json!({
        "currency": "GBP", "max_amount": 7000, "callback": "not a uri", "stripe": {"retries": "3"}, "curency": 1,
    });
    assert_eq!(
        check(&payments(), &config, &[]),
        [
            r#"/callback: must have the format uri, found "not a uri""#,
            r#"/callback: must match ^https:, found "not a uri""#,
            "/curency: is not a property of the schema, found 1",
            r#"/currency: must be one of "EUR", "USD", found "GBP""#,
            "/max_amount: must be at most 5000, found 7000",
            "/stripe/key: is required",
            r#"/stripe/retries: must be a whole number, found "3""#,
        ]
    );
    assert_eq!(check(&payments(), &json!({"currency": "EUR", "stripe": {"key": "sk_1"}}), &[]), [""; 0]);
}

#[test]
fn a_value_of_config_from_counts_as_some_string() {
    let config = json!({"currency": "EUR"});
    assert_eq!(check_unread(&payments(), &config, &[]), ["/stripe: is required"]);
    assert_eq!(check_unread(&payments(), &config, &["/stripe/key"]), [""; 0]);
    assert_eq!(
        check_unread(&payments(), &config, &["/stripe/key", "/max_amount"]),
        ["/max_amount: must be a whole number, and what configFrom puts there is a string"]
    );
    assert_eq!(
        check_unread(&payments(), &json!({"currency": "EUR", "stripe": 1}), &["/stripe/key"]),
        [
            "/stripe: must be an object",
            "/stripe/key: cannot be put there: /stripe is a number, not an object",
        ]
    );
}

#[test]
fn the_plugin_judges_secrets_and_never_shows_them() {
    let config = json!({"currency": "EUR", "stripe": {"key": "pk_hunter2"}});
    assert_eq!(check(&payments(), &config, &["/stripe/key"]), ["/stripe/key: must match ^sk_"]);
    let schema = json!({"enum": [{"pin": "1"}]});
    assert_eq!(
        check(&schema, &json!({"pin": "hunter2"}), &["/pin"]),
        [r#"the configuration: must be one of {"pin":"1"}"#]
    );
}

#[test]
fn what_hangs_on_a_secret_is_not_judged_without_it() {
    let secret = ["/a"];
    for (schema, certain) in [
        (json!({"properties": {"a": {"minLength": 99}}}), false),
        (json!({"properties": {"a": {"enum": ["x"]}}}), false),
        (json!({"properties": {"a": {"enum": [1, 2]}}}), true),
        (json!({"properties": {"a": {"const": null}}}), true),
        (json!({"properties": {"a": {"not": {"const": "x"}}}}), false),
        (json!({"properties": {"a": false}}), true),
        (json!({"const": {"a": "x"}}), false),
        (json!({"enum": [{"a": "x"}]}), false),
        (json!({"maxProperties": 0}), true),
        (json!({"not": {"properties": {"a": {"type": "string"}}}}), false),
        (json!({"anyOf": [{"properties": {"a": {"const": "x"}}}, {"required": ["b"]}]}), false),
        (json!({"anyOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["b"]}]}), true),
        (json!({"oneOf": [{"properties": {"a": {"const": "x"}}}, {}, {}]}), false),
        (json!({"if": {"properties": {"a": {"const": "x"}}}, "else": {"required": ["b"]}}), false),
        (json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}}), true),
        (json!({"if": {"properties": {"a": {"type": "string"}}}, "then": {"required": ["b"]}}), true),
        (
            json!({"allOf": [{"if": {"$ref": "#/$defs/x"}, "then": {"required": ["b"]}}],
                "$defs": {"x": {"required": ["a"]}}}),
            false,
        ),
        (json!({"properties": {"a": {"pattern": "x"}}, "unevaluatedProperties": false}), false),
        (json!({"dependentRequired": {"a": ["b"]}}), true),
        (json!({"$ref": "#/$defs/x", "$defs": {"x": {"required": ["b"]}}}), true),
    ] {
        let found = check_unread(&schema, &json!({}), &secret);
        assert_eq!(!found.is_empty(), certain, "{schema}: {found:?}");
    }
}

#[test]
fn what_is_left_over_only_because_of_a_secret_is_not_judged_without_it() {
    let knows_b = json!({"properties": {"a": {"const": "x"}, "b": {}}});
    let schema = json!({"anyOf": [knows_b, {}], "unevaluatedProperties": {"type": "string"}});
    assert_eq!(check_unread(&schema, &json!({"b": 1}), &["/a"]), [""; 0]);
    assert_eq!(check(&schema, &json!({"a": "x", "b": 1}), &["/a"]), [""; 0]);
    let found = check(&schema, &json!({"a": "y", "b": 1}), &["/a"]);
    assert_eq!(found, ["/b: is not a property of the schema, found 1"]);
}

#[test]
fn of_several_alternatives_the_one_that_was_meant_is_told() {
    let schema = json!({"properties": {
        "retry": {"anyOf": [{"type": "object", "properties": {"times": {"maximum": 9}}}, {"type": "null"}]},
        "store": {"oneOf": [
            {"type": "object", "required": ["kind", "url"], "properties": {"kind": {"const": "redis"}}},
            {"type": "object", "required": ["kind", "path"], "properties": {"kind": {"const": "disk"}}},
        ]},
        "level": {"oneOf": [{"const": "info"}, {"const": "debug"}]},
        "size": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    }});
    let config = json!({"retry": {"times": 10}, "store": {"kind": "disk"}, "level": "loud", "size": []});
    assert_eq!(
        check(&schema, &config, &[]),
        [
            r#"/level: must be one of "info", "debug", found "loud""#,
            "/retry/times: must be at most 9, found 10",
            "/size: must fit one of 2 alternatives, found []",
            "/store/path: is required",
        ]
    );
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_with_the_place() {
    for (schema, message) in [
        (json!(true), "the schema: a schema is an object, found true"),
        (
            json!({"properties": {"a": {"type": "strin"}}}),
            "/properties/a/type: \"strin\" is no type: there are array, boolean, integer, null, number, object and string",
        ),
        (
            json!({"properties": {"a": {"$ref": "https://example.com/a.json"}}}),
            "/properties/a/$ref: refers to \"https://example.com/a.json\", which is another document: \
             nothing is fetched; copy it into \"#/$defs\"",
        ),
        (json!({"$ref": "#/$defs/a"}), "/$ref: refers to \"#/$defs/a\", which is not there"),
        (
            json!({"items": {"$dynamicRef": "#a"}}),
            "/items/$dynamicRef: is not followed: refer to a place of the same document, as \"#/$defs/NAME\"",
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            "/$schema: only \"https://json-schema.org/draft/2020-12/schema\" is read, \
             found \"http://json-schema.org/draft-07/schema#\"",
        ),
        (
            json!({"properties": {"a": {"pattern": "(?=x)"}}}),
            "/properties/a/pattern: \"(?=x)\" is no pattern, or not one that can be matched in linear time",
        ),
    ] {
        assert_eq!(refused(&schema), message);
    }
    // What only looks like a keyword.
    compile(&json!({"properties": {"$ref": {"type": "string"}, "$id": {}}, "const": {"$ref": "https://a"}}));
}

#[test]
fn schemas_that_would_never_end_take_no_time_and_no_stack() {
    let schema = compile(&json!({"allOf": [{"$ref": "#"}]}));
    assert!(lines(&schema.check(&json!({}), &[]))[0].contains("takes too long"));
    let mut doubling = json!({"$defs": {"s40": {}}, "$ref": "#/$defs/s0"});
    for number in 0..40 {
        let next = json!({"$ref": format!("#/$defs/s{}", number + 1)});
        doubling["$defs"][format!("s{number}")] = json!({"allOf": [next, next]});
    }
    assert!(lines(&compile(&doubling).check(&json!({}), &[]))[0].contains("takes too long"));
    let mut chain = json!({"$defs": {"s9999": {}}, "$ref": "#/$defs/s0"});
    for number in 0..9999 {
        chain["$defs"][format!("s{number}")] = json!({"$ref": format!("#/$defs/s{}", number + 1)});
    }
    assert!(refused(&chain).ends_with("schemas stand in each other more than 128 deep"));
}

#[test]
fn the_deepest_that_is_let_in_fits_a_small_stack() {
    let deepest = || {
        let mut schema = json!({"properties": {"a": {"$ref": "#"}}});
        for _ in 0..60 {
            schema = json!({"allOf": [schema]});
        }
        let mut config = json!({});
        for _ in 0..3 {
            config = json!({"a": config});
        }
        assert_eq!(check(&schema, &config, &[]), [""; 0]);
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(deepest).unwrap().join().unwrap();
}

#[test]
fn a_schema_may_refer_to_itself_further_down() {
    let tree = json!({"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#"}}});
    let config = json!({"next": {"next": {"name": 1}}});
    assert_eq!(check(&tree, &config, &[]), ["/next/next/name: must be a string, found 1"]);
}

#[test]
fn defaults_are_filled_in_where_nothing_is() {
    let schema = json!({
        "properties": {
            "currency": {"default": "USD"},
            "limits": {"default": {}, "$ref": "#/$defs/limits"},
            "retry": {"type": "object", "properties": {"times": {"default": 3}}},
            "hosts": {"items": {"properties": {"port": {"default": 80}}}},
            "kept": {"default": 1},
        },
        "additionalProperties": {"properties": {"weight": {"default": 1}}},
        "allOf": [{"properties": {"debug": {"default": false}, "currency": {"default": "EUR"}}}],
        "anyOf": [{"properties": {"never": {"default": 1}}}],
        "$defs": {"limits": {"properties": {"per": {"default": "day"}}}},
    });
    let mut config = json!({"hosts": [{}, {"port": 1}], "kept": null, "other": {}});
    fill_defaults(&schema, &mut config);
    let expected = json!({
        "currency": "USD", "limits": {"per": "day"}, "hosts": [{"port": 80}, {"port": 1}], "kept": null,
        "other": {"weight": 1}, "debug": false,
    });
    assert_eq!(config, expected);
    let endless = json!({"default": {}, "properties": {"a": {"$ref": "#"}}});
    let mut config = json!({});
    fill_defaults(&endless, &mut config);
    let once = config.clone();
    fill_defaults(&endless, &mut config);
    assert_eq!(once, config);
    fill_defaults(&json!({"properties": [1], "allOf": 2, "items": "x"}), &mut config);
    assert_eq!(once, config);
}

#[test]
fn names_fields_that_no_part_of_the_schema_speaks_of() {
    let schema = json!({
        "properties": {"a": {"properties": {"b": {}}}, "list": {"items": {"properties": {"x": true}}},
                       "free": {}, "map": {"additionalProperties": {"properties": {"k": {}}}},
                       "open": {"properties": {}, "additionalProperties": true},
                       "prefixed": {"properties": {}, "patternProperties": {"^x-": {}}},
                       "closed": {"properties": {}, "additionalProperties": false}},
        "allOf": [{"$ref": "#/$defs/more"}],
        "anyOf": [{"properties": {"d": {}}}],
        "$defs": {"more": {"properties": {"c": {}}}},
    });
    let config = json!({"a": {"b": 1, "bb": 1}, "c": 1, "d": 1, "e": {"f": 1}, "list": [{"x": 1}, {"y": 1}],
                        "free": {"whatever": 1}, "map": {"one": {"k": 1, "l": 1}}, "open": {"on purpose": 1},
                        "prefixed": {"y": 1}, "closed": {"z": 1}});
    let unknown = |config: &Value, secrets: &[Pointer]| -> Vec<String> {
        compile(&schema).unknown_keys(config, secrets).iter().map(ToString::to_string).collect()
    };
    assert_eq!(unknown(&config, &[]), ["/a/bb", "/closed/z", "/e", "/list/1/y", "/map/one/l"]);
    assert_eq!(unknown(&json!({}), &pointers(&["/a/b", "/a/key", "/c"])), ["/a/key"]);
}

/// What is sent with so many bytes, and what is told of it.
fn sent(schema: &Value, value: &Value) -> Vec<String> {
    lines(&compile(schema).check_sent(value, value.to_string().len(), 100))
}

#[test]
fn where_everything_is_wrong_it_is_not_gathered_before_some_of_it_is_told() {
    let names = |count: usize| (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>();
    let all = json!({"items": {"required": names(20)}});
    let few = sent(&all, &json!(vec![json!({}); 200]));
    assert_eq!(few.len(), 100);
    assert_eq!(sent(&all, &json!(vec![json!({}); 10_000])), ["/0/n0: is required"]);
    assert_eq!(
        sent(&all, &json!(vec![json!({}); 190_000])),
        ["the configuration: takes too long to judge by this schema"],
        "4 million things are wrong"
    );
    let thousand = json!({"items": {"required": names(1000)}});
    assert_eq!(sent(&thousand, &json!(vec![json!({}); 900])), ["/0/n0: is required"]);
    let config = json!({"a": vec![json!({}); 190_000]});
    let schema = json!({"properties": {"a": thousand}});
    assert_eq!(
        check_unread(&schema, &config, &[]),
        ["the configuration: takes too long to judge by this schema"]
    );
}

#[test]
fn of_alternatives_for_much_it_is_told_that_none_fits() {
    let items = json!({"items": {"required": ["a", "b"]}});
    let schema = json!({"anyOf": [items, {"type": "string"}], "properties": {"secret": {"type": "integer"}}});
    let told =
        ["the configuration: is not what the schema asks for, and is too large to say in which places"];
    let value = json!(vec![json!({}); 10_000]);
    assert_eq!(sent(&schema, &value), told);
    assert_eq!(check_unread(&schema, &value, &[]), told);
    assert_eq!(sent(&schema, &json!(vec![json!({"a": 1, "b": 1}); 10_000])), [""; 0]);
    let large = "a".repeat(200_000);
    let copied = json!({"anyOf": [{"allOf": vec![json!({"type": "object"}); 1000]}]});
    assert_eq!(sent(&copied, &json!([large])), told, "it would be copied a thousand times");
}

#[test]
fn what_is_known_of_many_fields_takes_no_time() {
    let names = (0..5000).map(|number| (format!("n{number}"), json!({}))).collect::<serde_json::Map<_, _>>();
    let schema = compile(&json!({"properties": names}));
    let config = (0..5000).map(|number| (format!("m{number}"), json!(1))).collect::<serde_json::Map<_, _>>();
    let began = std::time::Instant::now();
    assert_eq!(schema.unknown_keys(&config.into(), &[]).len(), 5000);
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn knows_nothing_better_where_it_would_take_long() {
    let (schema, config) = (compile(&json!({"properties": {}, "allOf": [{"$ref": "#"}]})), json!({"b": 1}));
    assert!(lines(&schema.check(&config, &[]))[0].contains("takes too long"));
    assert_eq!(schema.unknown_keys(&config, &[]), []);
}

#[test]
fn a_text_of_all_is_one_line() {
    let violations = compile(&payments()).check(&json!({"currency": "GBP"}), &[]);
    assert_eq!(
        list(&violations),
        r#"/currency: must be one of "EUR", "USD", found "GBP"; /stripe: is required"#
    );
}
