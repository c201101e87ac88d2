//! What requests must be like.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{defaults, schema};

/// What a request must be like, or the plugin does not see it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Validate {
    /// What its body must be like.
    pub body: ValidateBody,
}

/// What the body of a request must be like: JSON that fits a schema. Others get 422 with all that is
/// wrong, what is no JSON 400, and what does not say that it is JSON, or is compressed, 415. The
/// gateway waits for the whole body.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ValidateBody {
    /// A schema of JSON Schema 2020-12. References within the schema only; patterns without
    /// look-around. Nothing is filled in: the plugin sees the body as the client sent it.
    #[schemars(schema_with = "schema::any_object")]
    pub schema: Map<String, Value>,
    /// The most bytes; what is larger gets 413.
    #[serde(default = "defaults::validate_max_bytes")]
    #[schemars(default = "defaults::validate_max_bytes", range(min = 1, max = 1_048_576))]
    pub max_bytes: i64,
    /// Whether requests without a body go on. Those of GET, HEAD, DELETE and OPTIONS do anyway. A body
    /// that is there is judged in any case.
    #[serde(default)]
    pub optional: bool,
}
