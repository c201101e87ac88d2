//! What an object says, as hashes: enough to tell whether it is as it should be, in a fifth of the space
//! of its text.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// All that an object says, but for its status, which nobody but its controller has a say in.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaves {
    /// In order.
    spec: Box<[Leaf]>,
    rest: Box<[Leaf]>,
}

/// A value that has no values in it, and where it stands. Of two values one is taken for the other once
/// in four thousand million times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    path: u32,
    value: u32,
}

/// The way to a value: a list whose entries all have names is gone through by name, others by place.
#[derive(Clone)]
struct Path(DefaultHasher);

impl Leaves {
    /// Those of an object.
    pub fn of(object: &Value) -> Self {
        let (mut spec, mut rest) = (Vec::new(), Vec::new());
        each(object, &mut |is_spec, path, value| {
            if !is_empty(value) {
                let leaves = if is_spec { &mut spec } else { &mut rest };
                leaves.push(Leaf { path, value: hash(value) });
            }
        });
        let ordered = |mut leaves: Vec<Leaf>| {
            leaves.sort_unstable();
            leaves.into()
        };
        Self { spec: ordered(spec), rest: ordered(rest) }
    }

    /// Whether everything that is desired is there. What the server or others added does not count:
    /// fields that are not desired, and entries of lists whose entries have names. Such an entry that
    /// is desired no more is still seen: it changes the hash that the pod template is annotated with.
    pub fn cover(&self, desired: &Value) -> bool {
        let mut covers = true;
        each(desired, &mut |is_spec, path, value| {
            let leaves = if is_spec { &self.spec } else { &self.rest };
            let there = leaves.partition_point(|leaf| leaf.path < path);
            let there = leaves[there..].iter().take_while(|leaf| leaf.path == path);
            // The API server may leave out what is empty.
            covers &= match is_empty(value) {
                true => there.count() == 0,
                false => there.map(|leaf| leaf.value).any(|it| it == hash(value)),
            };
        });
        covers
    }

    /// Whether nothing is in the spec but what is desired there.
    pub fn are_within(&self, desired: &Value) -> bool {
        let desired = Self::of(desired);
        self.spec.iter().all(|leaf| desired.spec.binary_search(leaf).is_ok())
    }
}

/// Call with each leaf of an object, whether it is of its spec, and the way to it. Of a list, how
/// long it is, or that its entries have names, counts as a leaf.
fn each(object: &Value, take: &mut impl FnMut(bool, u32, &Value)) {
    let fields = object.as_object().into_iter().flatten().filter(|(key, _)| *key != "status");
    for (key, value) in fields {
        walk(value, &Path::root().to(key), &mut |path, value| take(key == "spec", path, value));
    }
}

fn walk(value: &Value, path: &Path, take: &mut impl FnMut(u32, &Value)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| walk(value, &path.to(key), take));
        }
        Value::Array(entries) if !entries.is_empty() => {
            let is_named = entries.iter().all(|entry| name_of(entry).is_some());
            take(path.end(), &if is_named { "named".into() } else { entries.len().into() });
            for (place, entry) in entries.iter().enumerate() {
                match name_of(entry).filter(|_| is_named) {
                    Some(name) => walk(entry, &path.to(name), take),
                    None => walk(entry, &path.to(&place), take),
                }
            }
        }
        leaf => take(path.end(), leaf),
    }
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

fn is_empty(leaf: &Value) -> bool {
    match leaf {
        Value::Null | Value::Object(_) | Value::Array(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Path {
    fn root() -> Self {
        Self(DefaultHasher::new())
    }

    fn to(&self, step: &(impl Hash + ?Sized)) -> Self {
        let mut path = self.clone();
        step.hash(&mut path.0);
        path
    }

    fn end(&self) -> u32 {
        half(&self.0)
    }
}

fn hash(value: &Value) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    half(&hasher)
}

fn half(hasher: &DefaultHasher) -> u32 {
    (hasher.finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn covers(live: &Value, desired: &Value) -> bool {
        Leaves::of(live).cover(desired)
    }

    #[test]
    fn sees_what_is_missing_and_ignores_what_was_added() {
        let live = json!({"replicas": 1, "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                          "args": ["x"], "status": {"ready": 1}});
        let desired = [
            json!({"replicas": 1, "env": [{"name": "A", "value": "1"}], "args": ["x"]}),
            json!({"status": {"ready": 2}, "labels": {}, "note": "", "list": []}),
        ];
        assert!(desired.iter().all(|desired| covers(&live, desired)));
        for desired in [
            json!({"replicas": 2}),
            json!({"env": [{"name": "A", "value": "2"}]}),
            json!({"env": [{"name": "C"}]}),
            json!({"env": []}),
            json!({"args": ["x", "y"]}),
            json!({"args": ["y"]}),
            json!({"args": []}),
            json!({"args": [""]}),
            json!({"paused": false}),
        ] {
            assert!(!covers(&live, &desired), "{desired}");
        }
    }

    #[test]
    fn the_api_server_leaves_out_what_is_empty() {
        let desired = json!({"spec": {"egress": [], "ports": [], "podSelector": {}}});
        let live = json!({"spec": {"policyTypes": ["Egress"]}});
        assert!(covers(&live, &desired) && !covers(&desired, &live));
        assert!(!covers(&json!({"spec": {"egress": [{}]}}), &desired));
    }

    #[test]
    fn a_whole_spec_has_nothing_else_in_it() {
        let desired =
            json!({"metadata": {"name": "a"}, "spec": {"podSelector": {"app": "a"}, "ports": [{"port": 1}]}});
        let is_within = |live: &Value| Leaves::of(live).are_within(&desired);
        assert!(is_within(&desired) && is_within(&json!({"metadata": {"uid": "1"}, "spec": {"egress": []}})));
        for live in [
            json!({"spec": {"podSelector": {"app": "a", "tier": "b"}}}),
            json!({"spec": {"ports": [{"port": 1}, {}]}}),
            json!({"spec": {"egress": [{}]}}),
        ] {
            assert!(!is_within(&live), "{live}");
        }
    }

    /// Objects of some depth, of few words, so that two of them often have something in common.
    fn value() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec!["", "a", "b"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            word.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            let key = prop::sample::select(vec!["name", "spec", "x", "y"]);
            let fields = prop::collection::btree_map(key, inner.clone(), 0..3);
            prop_oneof![
                fields.prop_map(|fields| json!(fields)),
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        })
    }

    /// A value without what is empty in it, as the API server may keep it.
    fn without_empties(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let kept = fields.iter().map(|(key, value)| (key.clone(), without_empties(value)));
                let is_left =
                    |(_, value): &(String, Value)| !matches!(value, Value::Null) && !empty_text(value);
                json!(kept.filter(is_left).collect::<std::collections::BTreeMap<_, _>>())
            }
            value => value.clone(),
        }
    }

    fn empty_text(value: &Value) -> bool {
        value.as_str().is_some_and(str::is_empty)
    }

    /// Whether two values are the same but for what is empty.
    fn differs(a: &Value, b: &Value) -> bool {
        Leaves::of(a) != Leaves::of(b)
    }

    proptest! {
        #[test]
        fn an_object_covers_itself_with_or_without_what_is_empty(value in value()) {
            let object = json!({"spec": value, "metadata": value});
            prop_assert!(covers(&object, &object));
            prop_assert!(covers(&without_empties(&object), &object));
            prop_assert!(Leaves::of(&object).are_within(&object));
        }

        #[test]
        fn what_covers_and_is_within_is_the_same(a in value(), b in value()) {
            let [a, b] = [json!({"spec": a}), json!({"spec": b})];
            let same = covers(&a, &b) && Leaves::of(&a).are_within(&b);
            prop_assert_eq!(same, !differs(&a, &b), "{} {}", a, b);
        }
    }
}
