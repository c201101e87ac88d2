use proptest::prelude::*;

use super::*;

fn known() -> Reviewer {
    reviewer(&[plugin("inventory", json!({})), plugin("cart", needs("checkout", "^1"))])
}

/// Everything that JSON can be, in small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["", "1.0.0", ">=2, <1", "cart", "DELETE", "2026-01-01T00:00:00Z", "Scale"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// All places of a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            map.iter()
                .for_each(|(key, value)| pointers(value, &format!("{at}/{}", key.replace('/', "~1")), found));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(place, value)| pointers(value, &format!("{at}/{place}"), found));
        }
        _ => {}
    }
}

/// Whatever is sent, the answer is that it is no review, or a review with an answer that can be sent.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(answer) = known().review(body) else { return Ok(()) };
    let response = answer.response.as_ref().unwrap();
    let said: usize = response.warnings.iter().flatten().map(|warning| warning.chars().count()).sum();
    prop_assert!(said < 4_096);
    prop_assert!(response.allowed || !response.result.message.is_empty());
    prop_assert!(serde_json::to_vec(&answer).is_ok());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body)?;
    }

    #[test]
    fn any_change_to_a_review_is_answered(
        operation in prop::sample::select(vec!["CREATE", "UPDATE", "DELETE"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 0..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let spec = json!({"dependencies": [{"name": "inventory", "version": "^2"}, {"name": "cart"}],
                          "http": {"routes": [{"path": "/a"}]}, "config": {"a": [1]}});
        let plugin = plugin("checkout", spec);
        let mut review = review(operation, plugin.clone(), plugin);
        for (place, value) in changes {
            let mut found = Vec::new();
            pointers(&review, "", &mut found);
            let pointer = place.get(&found);
            *review.pointer_mut(pointer).unwrap() = value;
        }
        let mut body = serde_json::to_vec(&review).unwrap();
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        check(&body)?;
    }
}
