//! Schemas of Rust types.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The schema of a type, for [`Plugin::config_schema`](crate::Plugin::config_schema): what serde
/// reads into it. Its own `schemars` attributes say more (`range`, `length`, `pattern`).
///
/// ```
/// use forward_sdk::schemars;
///
/// #[derive(schemars::JsonSchema)]
/// #[schemars(crate = "forward_sdk::schemars")]
/// struct Limits {
///     #[schemars(range(min = 1))]
///     max_amount: u32,
/// }
///
/// let schema = forward_sdk::schema_of::<Limits>();
/// assert_eq!(schema["properties"]["max_amount"]["minimum"], 1);
/// ```
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}
