//! Conditions, as Kubernetes has them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::Word;

/// A condition of a plugin: [Kubernetes' own](v1::Condition), of which most plugins have the same words.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(default, rename = "type")]
    pub type_: Word,
    /// `True`, `False` or `Unknown`.
    #[serde(default)]
    pub status: Word,
    /// Why, in a word.
    #[serde(default)]
    pub reason: Word,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: Word,
    /// Since when it has this status.
    pub last_transition_time: Time,
    /// The generation of the spec that it was told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        v1::Condition::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        v1::Condition::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_that_of_kubernetes_says() {
        let text = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "it serves",
                          "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2});
        let short = json!({"type": "Ready", "status": "True", "reason": "", "message": "",
                           "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for text in [text, short] {
            let ours: Condition = serde_json::from_value(text.clone()).unwrap();
            let theirs: v1::Condition = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_value(&ours).unwrap(), text);
            assert_eq!(serde_json::to_value(&theirs).unwrap(), text);
        }
        let least = json!({"lastTransitionTime": "2026-01-01T00:00:00Z"});
        assert!(serde_json::from_value::<v1::Condition>(least.clone()).is_ok());
        assert!(serde_json::from_value::<Condition>(least).is_ok());
    }
}
