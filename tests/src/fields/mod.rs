//! Every field of a kind, from the schema that the API server enforces, how to change it in a manifest,
//! and what to. The tests of `plan/` and of the operator include this folder: they cannot know this
//! package.

pub mod hooks;
pub mod middleware;
mod table;

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use forward_crds::definitions;
use serde_json::{Map, Value};

pub use table::{Entry, Table};

/// A field below `spec`, or of a part of it, for example `dependencies[].version`.
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

    /// The rules that the API server has about it, or about the list that it is one of: where one of those
    /// refuses a value, the answer names the field.
    pub fn rules<'a>(&'a self, all: &'a [Self]) -> impl Iterator<Item = &'a str> {
        let list = match self.path.split_last() {
            Some((Step::Any, list)) => all.iter().find(|field| field.path == list),
            _ => None,
        };
        let rules = |field: &'a Self| field.schema["x-kubernetes-validations"].as_array();
        let rules = list.into_iter().chain([self]).filter_map(rules).flatten();
        rules.filter_map(|rule| rule["rule"].as_str())
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
    fields_of(&schema(kind, "")?, table)
}

/// The schema of a kind's spec, or of a part of it: `/http/middleware/items` are the entries of a list.
pub fn schema(kind: &str, part: &str) -> Result<Value> {
    let definition = definitions().into_iter().find(|it| it.spec.names.kind == kind).context("a kind")?;
    let definition = serde_json::to_value(definition)?;
    let mut schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for step in part.split('/').filter(|step| !step.is_empty()) {
        schema = if step == "items" { &schema["items"] } else { &schema["properties"][step] };
    }
    ensure!(schema.is_object(), "{kind} has no {part}");
    Ok(schema.clone())
}

/// The fields of what has a schema.
pub fn fields_of(schema: &Value, table: &Table) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    add_properties(schema, &[], table, &mut fields);
    ensure!(!fields.is_empty(), "the schema has no fields: {schema}");
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    ensure!(path.exists(), "{file}, which covers a field, is not there");
    if !test.is_empty() {
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        ensure!(text.contains(&format!("fn {test}(")), "{file} has no test {test}, which covers a field");
    }
    Ok(())
}
