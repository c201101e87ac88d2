//! What requests must be like: one verdict on a body, by the engine that judges configurations.

use std::{fmt, sync::Arc};

use forward_config::{Schema, SchemaError, Violation};
use forward_crds as crds;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{StepError, step::positive};

/// The most bytes that a body may have that is judged: the gateway holds it meanwhile.
const MOST: i64 = 1024 * 1024;
/// How much work is done in a moment: about a millisecond at the very most, and mostly a small part of it.
const QUICK: u64 = 50_000;
/// How many of its mistakes a body is told at most. Somebody reads them.
const TOLD: usize = 100;

/// What the body of a request must be like. To clone it costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Validate {
    schema: Arc<Schema>,
    /// The most bytes.
    pub most: u64,
    /// Whether there may be none.
    pub optional: bool,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON, or can be read in two ways.
    Unreadable(String),
    /// It does not fit.
    Violations(Vec<Violation>),
}

impl Validate {
    pub(super) fn read(validate: &crds::Validate) -> Result<Self, StepError> {
        let crds::Validate { body: crds::ValidateBody { schema, max_bytes, optional } } = validate;
        let most = positive("maxBytes", *max_bytes)?;
        if *max_bytes > MOST {
            return Err(StepError::OutOfRange { field: "maxBytes", value: *max_bytes });
        }
        Ok(Self { schema: Arc::new(compile(schema)?), most: most.into(), optional: *optional })
    }

    /// Whether it takes no longer than a moment to judge a body of so many bytes, whatever it holds.
    pub fn is_quick(&self, bytes: usize) -> bool {
        self.schema.most_work(bytes).is_some_and(|work| work <= QUICK)
    }

    /// What is wrong with a body.
    ///
    /// # Errors
    /// All of it, and of very much some or the first.
    pub fn judge(&self, body: &[u8]) -> Result<(), Fault> {
        let unreadable = |error: serde_json::Error| Fault::Unreadable(error.to_string());
        let Once(value) = serde_json::from_slice(body).map_err(unreadable)?;
        let violations = self.schema.check_sent(&value, body.len(), TOLD);
        if violations.is_empty() { Ok(()) } else { Err(Fault::Violations(violations)) }
    }
}

/// What is wrong with a schema of an entry, if something is.
pub fn flaw_of_schema(schema: &Map<String, Value>) -> Option<SchemaError> {
    compile(schema).err()
}

fn compile(schema: &Map<String, Value>) -> Result<Schema, SchemaError> {
    Schema::compile(&Value::Object(schema.clone()))
}

/// JSON in which no object has a name twice: of two values, the one that is judged need not be the
/// one that the plugin takes.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom("an object has a name twice"));
            }
            let Once(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn validate(schema: Value) -> Result<Validate, StepError> {
        Validate::read(
            &serde_json::from_value(json!({"body": {"schema": schema, "maxBytes": 1024}})).unwrap(),
        )
    }

    fn order_schema() -> Value {
        let item = json!({"type": "object", "required": ["sku"], "additionalProperties": false,
                          "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}}});
        json!({"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": item}}})
    }

    fn order() -> Validate {
        validate(order_schema()).unwrap()
    }

    fn told(body: &str) -> Vec<String> {
        match order().judge(body.as_bytes()) {
            Ok(()) => Vec::new(),
            Err(Fault::Unreadable(why)) => vec![format!("unreadable: {why}")],
            Err(Fault::Violations(all)) => all.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn lists_everything_that_is_wrong() {
        assert_eq!(told(r#"{"items": [{"sku": "a", "count": 2}]}"#), [""; 0]);
        assert_eq!(
            told(r#"{"items": [{"sku": 7}, {"count": 0, "colour": "red"}]}"#),
            [
                "/items/0/sku: must be a string, found 7",
                "/items/1/colour: is not a property of the schema, found \"red\"",
                "/items/1/count: must be at least 1, found 0",
                "/items/1/sku: is required",
            ]
        );
    }

    #[test]
    fn of_very_many_mistakes_some_are_told() {
        let items = vec!["0"; 400].join(",");
        assert_eq!(told(&format!(r#"{{"items": [{items}]}}"#)).len(), TOLD);
        let items = vec!["0"; 20_000].join(",");
        assert_eq!(told(&format!(r#"{{"items": [{items}]}}"#)).len(), 1, "they are not gathered");
    }

    #[test]
    fn what_takes_a_moment_hangs_on_all_that_is_asked_for() {
        assert!(order().is_quick(2000));
        let names = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>();
        for items in [
            json!({"required": names}),
            json!({"enum": names}),
            json!({"dependentRequired": {"a": names}}),
            json!({"pattern": "a"}),
            json!({"patternProperties": {"a": {}}}),
            json!({"$ref": "#"}),
        ] {
            assert!(!validate(json!({"items": items})).unwrap().is_quick(100), "{items}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for (body, expected) in [
            ("", "EOF"),
            ("{\"items\": []} {}", "trailing"),
            ("{\"items\": 1, \"items\": []}", "a name twice"),
            ("{\"items\": [], \"it\\u0065ms\": 1}", "a name twice"),
            ("{\"items\": [], \"a\": [{\"b\": 1, \"b\": 1}]}", "a name twice"),
            ("{\"items\": [], \"a\": 1e999}", "out of range"),
            ("{\"items\": [], \"a\": NaN}", "expected value"),
            ("\u{feff}{\"items\": []}", "expected value"),
            ("{\"items\": [], \"a\": \"\\ud800\"}", "hex escape"),
            (&deep, "recursion limit"),
        ] {
            let told = told(body).concat();
            assert!(told.starts_with("unreadable: ") && told.contains(expected), "{body}: {told}");
        }
        assert!(matches!(order().judge(b"\"\xff\""), Err(Fault::Unreadable(_))));
    }

    #[test]
    fn an_entry_is_refused_that_has_no_schema() {
        let refused = |schema| validate(schema).unwrap_err().to_string();
        assert_eq!(
            refused(json!({"type": "text"})),
            "validate.body.schema is no schema: /type: \"text\" is no type: there are array, boolean, integer, null, number, object and string"
        );
        assert!(refused(json!({"$ref": "https://schemas.example/a"})).contains("nothing is fetched"));
        let large = json!({"body": {"schema": {}, "maxBytes": MOST + 1}});
        assert!(Validate::read(&serde_json::from_value(large).unwrap()).is_err());
    }

    fn json_values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-2i64..3).prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![
                Just("items".to_owned()),
                Just("sku".to_owned()),
                Just("count".to_owned()),
                "[a-c]{1,2}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_verdict_is_the_engines_own(value in json_values()) {
            let validate = order();
            let engine = jsonschema::draft202012::options().should_validate_formats(true).build(&order_schema()).unwrap();
            prop_assert_eq!(validate.judge(value.to_string().as_bytes()).is_ok(), engine.is_valid(&value));
        }

        #[test]
        fn reads_what_everybody_reads(value in json_values()) {
            let Once(read) = serde_json::from_slice(value.to_string().as_bytes()).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<Value>(&value.to_string()).unwrap());
        }
    }
}
