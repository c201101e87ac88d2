//! Every field of every kind of middleware, from the schema that the API server enforces: what it is set
//! to makes a difference to what the gateway does, and what cannot be is refused. A field that is new in
//! the schema fails here until there are values of it, and something reads it.
//!
//! Of the rules of the API server those are evaluated here that compare with a pattern or with words;
//! `tests/tests/admit_fields.rs` asks it with the same values.
#![expect(clippy::disallowed_methods, reason = "what is included reads files in functions not used here")]

use anyhow::{Context, Result, bail, ensure};
use forward_crds::Middleware;
use forward_plan::middleware::Chain;
use jsonschema::Validator;
use regex::Regex;
use serde_json::{Value, json};

use fields::{Field, Table, fields_of, middleware, schema};

/// Values that a rule of the API server refuses which is not evaluated here, and nothing else.
const BY_RULE_ALONE: [(&str, &str); 7] = [
    ("ipFilter.allow[]", "10.0.0.0"),
    ("ipFilter.allow[]", "10.0.0.1/8"),
    ("ipFilter.deny[]", "10.0.0.0"),
    ("ipFilter.deny[]", "10.0.0.1/8"),
    ("rateLimit.per", "25h"),
    ("circuitBreaker.ejection", "25h"),
    ("circuitBreaker.longestEjection", "25h"),
];

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/src/fields/mod.rs"]
mod fields;

/// What an entry means, of the namespace's and of a plugin's own.
fn chains(entry: &Value) -> Result<[Chain; 2]> {
    let entry = &[serde_json::from_value::<Middleware>(entry.clone())?][..];
    Ok([Chain::new(entry, &[], &[]), Chain::new(&[], entry, &[])])
}

/// What it means, where it can be carried out.
fn meaning(entry: &Value) -> Result<[Chain; 2]> {
    let chains = chains(entry)?;
    match refusal(&chains) {
        Some(why) => bail!("{why}"),
        None => Ok(chains),
    }
}

fn refusal(chains: &[Chain; 2]) -> Option<String> {
    chains.iter().flat_map(Chain::refused).map(|(_, error)| error.to_string()).next()
}

/// The first entry that has a field.
fn base(field: &Field) -> Result<Value> {
    let has = |entry: &Value| field.value(entry).is_some();
    middleware::bases().into_iter().find(has).with_context(|| format!("no value for {field} in any entry"))
}

/// What is tried of all fields.
struct Tries {
    table: Table,
    fields: Vec<Field>,
    /// The schema, without its rules.
    validator: Validator,
}

impl Tries {
    fn new(schema: &Value) -> Self {
        let table = middleware::table();
        let fields = fields_of(schema, &table).expect("it has fields");
        let validator = jsonschema::validator_for(schema).expect("it is a schema");
        Self { table, fields, validator }
    }

    fn field(&self, name: &str) -> &Field {
        self.fields.iter().find(|field| field.to_string() == name).expect("it is in the schema")
    }
}

/// Whether the schema refuses an entry and names the field.
fn is_out_of_schema(field: &Field, entry: &Value, validator: &Validator) -> bool {
    validator.iter_errors(entry).any(|error| error.instance_path().to_string().contains(field.name()))
}

/// Whether a rule of the API server refuses a value, or one of a list: as far as it is about a pattern,
/// or a list of words.
fn breaks(rule: &str, value: &Value) -> bool {
    let rule = rule.strip_prefix("self.all(one, ").or(rule.strip_prefix("self.all(name, ")).unwrap_or(rule);
    if let Some(words) = rule.strip_prefix("self in ") {
        let words: Vec<Value> = serde_json::from_str(&words.replace('\'', "\"")).expect("a list");
        return !words.contains(value);
    }
    let Some(text) = value.as_str() else { return false };
    let Some((subject, rest)) = rule.split_once(".matches(") else { return false };
    let Some((pattern, more)) = rest.trim_start_matches(['r', '\'']).split_once('\'') else { return false };
    let matches = Regex::new(pattern).expect("a pattern").is_match(text);
    match (subject.strip_prefix('!').unwrap_or(subject), subject.starts_with('!')) {
        ("self" | "one" | "name", false) => !matches,
        // What comes after it can make good for it.
        ("self" | "one" | "name", true) => matches && !more.contains("||"),
        _ => false,
    }
}

/// Fail where nothing refuses a value, or not with the field's name.
fn refuse(field: &Field, tries: &Tries, base: &Value, value: &Value) -> Result<()> {
    let entry = field.changed(base, Some(value))?;
    let rules: Vec<_> = field.rules(&tries.fields).collect();
    if is_out_of_schema(field, &entry, &tries.validator) || rules.iter().any(|rule| breaks(rule, value)) {
        return Ok(());
    }
    let why = match chains(&entry).map(|chains| refusal(&chains)) {
        Ok(None) if BY_RULE_ALONE.contains(&(&field.to_string(), value.as_str().unwrap_or_default())) => {
            ensure!(!rules.is_empty(), "{field}: {value}: there is no rule");
            return Ok(());
        }
        Ok(None) => bail!("{field}: {value} was taken"),
        Ok(Some(why)) => why,
        Err(error) => error.to_string(),
    };
    // A rule refuses it before.
    ensure!(why.contains(field.name()) || !rules.is_empty(), "{field}: {value}: it is not named: {why}");
    Ok(())
}

/// Set a field to each of its values and take it away, each time from the base and back to it.
fn exercise(field: &Field, tries: &Tries) -> Result<usize> {
    let base = base(field)?;
    let first = meaning(&base).with_context(|| format!("{field}: at the base"))?;
    let now = field.value(&base);
    let mut count = 0;
    if field.leaf {
        for value in tries.table.valid(field, now)? {
            let changed = field.changed(&base, Some(&value))?;
            let found = meaning(&changed).with_context(|| format!("{field}: {value}"))?;
            ensure!(found[0] != first[0] && found[1] != first[1], "{field}: {value} makes no difference");
            let back = meaning(&field.changed(&changed, now)?)?;
            ensure!(back == first, "{field}: {value}, and back, is not the same");
            count += 1;
        }
        ensure!(count > 0, "no value for {field}");
    }
    let is_default = now == field.schema.get("default");
    if !field.required && !is_default {
        match meaning(&field.changed(&base, None)?) {
            Ok(found) => ensure!(found != first, "{field}: it makes no difference that there is one"),
            Err(error) => {
                let named = error.to_string().contains(field.name());
                // Nothing is left of what the entry is to do.
                let is_all = error.to_string().contains("exactly one thing");
                ensure!(named || is_all, "{field}: nothing: {error}");
            }
        }
    }
    for value in tries.table.invalid(field) {
        refuse(field, tries, &base, &value)?;
    }
    Ok(count)
}

#[test]
fn every_field_makes_a_difference_and_what_cannot_be_is_refused() {
    let schema_of = |kind, part| schema(kind, part).unwrap();
    let entry = schema_of("Plugin", "/http/middleware/items");
    assert_eq!(entry, schema_of("PluginSystem", "/middleware/items"), "both kinds have the same entries");
    let tries = Tries::new(&entry);
    let fields = &tries.fields;
    assert_eq!(tries.table.unknown(fields), Vec::<&str>::new());
    let outcomes: Vec<_> = fields.iter().map(|field| exercise(field, &tries)).collect();
    let changes: usize = outcomes.iter().flatten().sum();
    let wrong: Vec<_> =
        outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    assert!(wrong.is_empty(), "{} fields are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
    assert!(fields.len() > 100 && changes > fields.len() / 2, "{changes} changes of {} fields", fields.len());
}

#[test]
fn what_no_rule_refuses_and_means_nothing_is_refused_by_name() {
    let tries = Tries::new(&schema("Plugin", "/http/middleware/items").unwrap());
    for (name, value) in middleware::meaningless() {
        let field = tries.field(name);
        let changed = field.changed(&base(field).unwrap(), Some(&value)).unwrap();
        let why = refusal(&chains(&changed).unwrap()).unwrap_or_default();
        assert!(why.contains(field.name()), "{name}: {value}: {why:?}");
    }
}

#[test]
fn a_field_without_a_value_fails() {
    let mut entry = schema("Plugin", "/http/middleware/items").unwrap();
    entry["properties"]["log"]["properties"]["unread"] = json!({"type": "string"});
    let tries = Tries::new(&entry);
    let error = exercise(tries.field("log.unread"), &tries).unwrap_err();
    assert!(error.to_string().contains("no value for log.unread"), "{error:#}");
}
