use serde_json::json;

use super::*;

fn read(variables: &[(&str, &str)]) -> Overrides {
    let named = variables.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
    let (overrides, errors) = Overrides::read(named);
    assert_eq!(errors, []);
    overrides
}

fn plugin(name: &str, config: Value) -> Plugin {
    let spec = json!({"version": "1.0.0", "image": "a", "config": config});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// A plugin named pay-pal with overrides, and what they are from, in lines.
fn effective(variables: &[(&str, &str)], config: Value, others: &[&str]) -> (Plugin, String) {
    let plugin = plugin("pay-pal", config);
    let exists = |name: &str| others.contains(&name);
    let effective = read(variables).effective(&plugin, exists).unwrap();
    let line = |it: OverrideStatus| {
        let said = it.message.or(it.value).unwrap_or_default();
        format!("{} < {}: {said}", it.field, it.variable.trim_start_matches(PREFIX))
    };
    let lines: Vec<_> = effective.origins.into_iter().map(line).collect();
    (effective.plugin, lines.join("\n"))
}

#[test]
fn plugins_without_overrides_stay_as_they_are() {
    let overrides = read(&[("PAYPAL_ENABLED", "false"), ("ENABLED_PRIORITY", "1")]);
    assert_eq!(overrides.effective(&plugin("pay-pal", json!({})), |_| false), None);
    assert_eq!(Overrides::read([("PATH".to_owned(), "/".to_owned())]), (Overrides::default(), vec![]));
}

#[test]
fn fields_and_keys_are_overridden_and_say_by_what() {
    let (plugin, origins) = effective(
        &[
            ("PAY_PAL_ENABLED", "false"),
            ("PAY_PAL_PRIORITY", "20"),
            ("PAY_PAL_CONFIG_API_KEY", "hunter2"),
            ("PAY_PAL_CONFIG_MAX_AMOUNT", "7"),
            ("PAY_PAL_CONFIG_NEW", "true"),
        ],
        json!({"api-key": "x", "max_amount": 5}),
        &[],
    );
    assert!(!plugin.spec.enabled);
    assert_eq!(plugin.spec.priority, 20);
    assert_eq!(
        Value::from(plugin.spec.config.unwrap().read()),
        json!({"api-key": "hunter2", "max_amount": 7, "new": true})
    );
    assert_eq!(
        origins,
        "config.api_key < PAY_PAL_CONFIG_API_KEY: \n\
         config.max_amount < PAY_PAL_CONFIG_MAX_AMOUNT: \n\
         config.new < PAY_PAL_CONFIG_NEW: \n\
         enabled < PAY_PAL_ENABLED: false\n\
         priority < PAY_PAL_PRIORITY: 20"
    );
}

#[test]
fn values_that_cannot_be_leave_the_manifest_and_say_why() {
    let config = json!({"max_amount": 5, "features": {}});
    let (overridden, origins) = effective(
        &[
            ("PAY_PAL_ENABLED", "maybe"),
            ("PAY_PAL_PRIORITY", "1000001"),
            ("PAY_PAL_CONFIG_MAX_AMOUNT", "hunter2"),
            ("PAY_PAL_CONFIG_FEATURES", "[1]"),
        ],
        config.clone(),
        &[],
    );
    assert_eq!(overridden.spec, plugin("pay-pal", config).spec);
    assert_eq!(
        origins,
        "config.features < PAY_PAL_CONFIG_FEATURES: its value must be a JSON object, as the value in the manifest is\n\
         config.max_amount < PAY_PAL_CONFIG_MAX_AMOUNT: its value must be a number, as the value in the manifest is\n\
         enabled < PAY_PAL_ENABLED: its value \"maybe\" is neither true nor false\n\
         priority < PAY_PAL_PRIORITY: its value \"1000001\" is no whole number from -1000000 to 1000000"
    );
}

#[test]
fn a_value_has_the_kind_of_the_one_that_it_replaces() {
    let overridden = |before: Value, text: &str| {
        let config = json!({"größe": before});
        let (plugin, origins) = effective(&[("PAY_PAL_CONFIG_GR__E", text)], config, &[]);
        let value = plugin.spec.config.unwrap().read().remove("größe").unwrap();
        (value, origins.ends_with(": "))
    };
    for (before, text, after) in [
        (json!("0000"), "1234", json!("1234")),
        (json!(""), "true", json!("true")),
        (json!([1]), "[2, 3]", json!([2, 3])),
        (json!({"a": 1}), "{\"b\": 2}", json!({"b": 2})),
        (json!(1), "2.5", json!(2.5)),
        (json!(true), "false", json!(false)),
        (json!(null), "42", json!(42)),
        (json!(null), "[1]", json!("[1]")),
        (json!(null), "null", json!("null")),
    ] {
        assert_eq!(overridden(before.clone(), text), (after, true), "{before} by {text}");
    }
    for (before, text) in [(json!([1]), "{}"), (json!({}), "null"), (json!(1), "true"), (json!(true), "1")] {
        assert_eq!(overridden(before.clone(), text), (before.clone(), false), "{before} by {text}");
    }
}

#[test]
fn switches_and_priorities_are_read_as_people_write_them() {
    for (text, expected) in [("true", true), (" TRUE ", true), ("1", true), ("False", false), ("0", false)] {
        let (plugin, origins) = effective(&[("PAY_PAL_ENABLED", text)], json!({}), &[]);
        assert_eq!(
            (plugin.spec.enabled, origins),
            (expected, format!("enabled < PAY_PAL_ENABLED: {expected}"))
        );
    }
    let (plugin, _) = effective(&[("PAY_PAL_PRIORITY", " -1000000\n")], json!({}), &[]);
    assert_eq!(plugin.spec.priority, -1_000_000);
}

#[test]
fn what_can_mean_two_plugins_counts_for_neither_where_both_are() {
    let variables = [("PAY_PAL_CONFIG_X_ENABLED", "true")];
    let (plugin, origins) = effective(&variables, json!({}), &[]);
    assert_eq!(plugin.spec.config, Some(json!({"x_enabled": true}).as_object().unwrap().clone().into()));
    assert_eq!(origins, "config.x_enabled < PAY_PAL_CONFIG_X_ENABLED: ");
    let (plugin, origins) = effective(&variables, json!({}), &["pay-pal-config-x"]);
    assert_eq!(plugin.spec.config, Some(Map::new().into()));
    assert_eq!(
        origins,
        "config.x_enabled < PAY_PAL_CONFIG_X_ENABLED: it can mean the plugin pay-pal-config-x too, so it counts for neither"
    );
    let overrides = read(&variables);
    assert_eq!(overrides.rivals("pay-pal"), ["pay-pal-config-x".to_owned()].into());
    assert_eq!(overrides.rivals("pay-pal-config-x"), ["pay-pal".to_owned()].into());
    assert_eq!(overrides.rivals("pay"), [].into());
}

#[test]
fn everything_can_be_switched_off_at_once() {
    let switched = |all: &str| {
        let variables = [("ENABLED", all), ("PAY_PAL_ENABLED", "true"), ("PAY_PAL_PRIORITY", "1")];
        effective(&variables, json!({}), &[])
    };
    let (plugin, origins) = switched("false");
    assert!(!plugin.spec.enabled);
    assert_eq!(origins, "enabled < ENABLED: false\npriority < PAY_PAL_PRIORITY: 1");
    let (plugin, origins) = switched("true");
    assert!(plugin.spec.enabled);
    assert_eq!(origins, "enabled < PAY_PAL_ENABLED: true\npriority < PAY_PAL_PRIORITY: 1");
}

#[test]
fn no_plugin_is_reloaded_where_none_may_be() {
    let mut manifest = plugin("a", json!({}));
    let of_all = |value: &str| read(&[("AUTO_RELOAD", value)]);
    assert_eq!(of_all("false").effective(&manifest, |_| false).unwrap().origins, []);
    manifest.spec.reload = Reload::InPlace;
    let effective = of_all("false").effective(&manifest, |_| false).unwrap();
    assert_eq!(effective.plugin.spec.reload, Reload::Rolling);
    assert_eq!(effective.origins[0].value.as_deref(), Some("Rolling"));
    let allowed = of_all("true").effective(&manifest, |_| false).unwrap();
    assert_eq!(allowed.plugin.spec.reload, Reload::InPlace);
}

#[test]
fn another_value_of_a_variable_is_another_revision() {
    let revision = |variables: &[(&str, &str)]| {
        let (plugin, _) = effective(variables, json!({"key": "x"}), &[]);
        crate::revision(&plugin, &crate::Settings::default())
    };
    let plain = revision(&[("PAY_PAL_PRIORITY", "1")]);
    assert_eq!(plain, "0-0", "nothing is built of a priority");
    assert_eq!(revision(&[("PAY_PAL_CONFIG_KEY", "x")]), plain, "it says what the manifest says");
    let (one, two) = (revision(&[("PAY_PAL_CONFIG_KEY", "1")]), revision(&[("PAY_PAL_CONFIG_KEY", "2")]));
    assert!(one != plain && two != plain && one != two, "{plain}, {one}, {two}");
}

#[test]
fn a_way_to_reload_that_is_overridden_is_another_revision() {
    let mut manifest = plugin("pay-pal", json!({"key": "x"}));
    manifest.spec.reload = Reload::InPlace;
    let revision = |variables: &[(&str, &str)]| {
        let effective = read(variables).effective(&manifest, |_| false).unwrap();
        crate::revision(&effective.plugin, &crate::Settings::default())
    };
    let rolling = ("AUTO_RELOAD", "false");
    let key = ("PAY_PAL_CONFIG_KEY", "1");
    let revisions = [revision(&[rolling]), revision(&[key]), revision(&[rolling, key])];
    let different: BTreeSet<&String> = revisions.iter().collect();
    assert!(different.len() == 3 && !different.contains(&"0-0".to_owned()), "{revisions:?}");
}

#[test]
fn what_only_an_effective_plugin_has_comes_from_no_manifest() {
    let mut manifest = plugin("pay-pal", json!({"key": "x"}));
    let forged = [(OVERRIDDEN, "1"), (OVERRIDDEN_KEYS, "{\"key\": \"PATH\"}")];
    manifest.metadata.annotations =
        Some(forged.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let effective = read(&[("PAY_PAL_PRIORITY", "1")]).effective(&manifest, |_| false).unwrap();
    assert_eq!(effective.plugin.metadata.annotations, Some(BTreeMap::new()));
}

#[test]
fn variables_that_override_nothing_are_told() {
    let names = [
        "DIRECTORY",
        "PAY_PAL_CONFIG_",
        "_ENABLED",
        "pay_ENABLED",
        "1A_ENABLED",
        "A__PRIORITY",
        "PaY_ENABLED",
    ];
    for name in names {
        let variable = format!("{PREFIX}{name}");
        let (overrides, errors) = Overrides::read([(variable.clone(), "1".to_owned())]);
        assert_eq!((overrides, errors), (Overrides::default(), vec![OverrideError::Unknown(variable)]));
    }
    let variable = format!("{PREFIX}ENABLED");
    let (_, errors) = Overrides::read([(variable.clone(), "on".to_owned())]);
    assert_eq!(errors, [OverrideError::NoBoolean(variable, "on".to_owned())]);
}
