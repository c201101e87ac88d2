//! Every field of a kind, from the schema that the API server enforces, and how to change it in a
//! manifest.

mod values;

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use forward_crds::definitions;
use serde_json::{Map, Value};

pub use values::Table;

/// A field below `spec`, for example `dependencies[].version`.
#[derive(Clone, Debug)]
pub struct Field {
    path: Vec<Step>,
    /// What may stand there.
    pub schema: Value,
    /// Whether the object that it is in must have it.
    pub required: bool,
    /// Whether it is looked at as a whole, and not only as what its own fields are in.
    pub leaf: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Into(String),
    /// One of a list.
    Any,
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.path.iter().enumerate() {
            match step {
                Step::Into(name) if place == 0 => formatter.write_str(name)?,
                Step::Into(name) => write!(formatter, ".{name}")?,
                Step::Any => formatter.write_str("[]")?,
            }
        }
        Ok(())
    }
}

impl Field {
    /// Its own name, or that of the list that it is in.
    pub fn name(&self) -> &str {
        let name = self.path.iter().rev().find_map(|step| match step {
            Step::Into(name) => Some(name.as_str()),
            Step::Any => None,
        });
        name.unwrap_or_default()
    }

    /// Its value in a spec: in a list, that of the first entry that has it.
    pub fn value<'a>(&self, spec: &'a Value) -> Option<&'a Value> {
        find(spec, &self.path)
    }

    /// A spec with another value of it; without one, a spec that does not have it. In a list, it is
    /// the first entry that has it which is changed, else the first at all.
    pub fn changed(&self, spec: &Value, value: Option<&Value>) -> Result<Value> {
        let mut spec = spec.clone();
        change(&mut spec, &self.path, value).with_context(|| format!("change {self}"))?;
        Ok(spec)
    }
}

/// The fields of a kind, in the order of their names. What the table has as a whole is not looked
/// into.
pub fn fields(kind: &str, table: &Table) -> Result<Vec<Field>> {
    let definition = definitions().into_iter().find(|it| it.spec.names.kind == kind).context("a kind")?;
    let definition = serde_json::to_value(definition)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    add_properties(schema, &[], table, &mut fields);
    ensure!(!fields.is_empty(), "the schema of {kind} has no fields");
    Ok(fields)
}

fn add_properties(schema: &Value, path: &[Step], table: &Table, fields: &mut Vec<Field>) {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|it| it.iter().any(|it| it == name));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = [path, &[Step::Into(name.clone())]].concat();
        add(Field { path, schema: property.clone(), required: required(name), leaf: true }, table, fields);
    }
}

fn add(mut field: Field, table: &Table, fields: &mut Vec<Field>) {
    let (path, schema) = (field.path.clone(), field.schema.clone());
    let whole = table.has(&field.to_string());
    let is_list = schema["type"] == "array";
    field.leaf = whole || !(is_list || schema["properties"].is_object());
    let is_entry = path.last() == Some(&Step::Any);
    if !is_entry || field.leaf {
        fields.push(field);
    }
    if whole {
        return;
    }
    if is_list {
        let path = [&path[..], &[Step::Any]].concat();
        let schema = schema["items"].clone();
        add(Field { path, schema, required: true, leaf: true }, table, fields);
    } else {
        add_properties(&schema, &path, table, fields);
    }
}

fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    match path.split_first() {
        None => Some(value),
        Some((Step::Into(name), rest)) => find(value.get(name)?, rest),
        Some((Step::Any, rest)) => value.as_array()?.iter().find_map(|entry| find(entry, rest)),
    }
}

fn change(value: &mut Value, path: &[Step], to: Option<&Value>) -> Result<()> {
    match path {
        [Step::Into(name)] => {
            let object = object(value)?;
            match to {
                Some(to) => object.insert(name.clone(), to.clone()),
                None => object.remove(name),
            };
            Ok(())
        }
        [Step::Into(name), rest @ ..] => change(object(value)?.entry(name).or_insert(Value::Null), rest, to),
        [Step::Any, rest @ ..] => {
            let list = value.as_array_mut().context("there is no list to change an entry of")?;
            let place = list.iter().position(|entry| find(entry, rest).is_some()).unwrap_or(0);
            match (rest, to) {
                ([], Some(to)) => *list.get_mut(place).context("the list is empty")? = to.clone(),
                ([], None) => bail!("an entry is not taken out"),
                _ => change(list.get_mut(place).context("the list is empty")?, rest, to)?,
            }
            Ok(())
        }
        [] => bail!("no field is named"),
    }
}

fn object(value: &mut Value) -> Result<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().context("something is in the way that is no object")
}

/// Whether something that covers a field is still there: a folder or file of the repository, after a
/// `#` the name of a test in it.
pub fn check_cover(cover: &str) -> Result<()> {
    let (file, test) = cover.split_once('#').unwrap_or((cover, ""));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    ensure!(path.exists(), "{file}, which covers a field, is not there");
    if !test.is_empty() {
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        ensure!(text.contains(&format!("fn {test}(")), "{file} has no test {test}, which covers a field");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        for (kind, table) in [("Plugin", Table::of_plugin()), ("PluginSystem", Table::of_system())] {
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
