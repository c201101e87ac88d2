//! Which fields of an object the operator holds, as the API server keeps account of it.
//!
//! Objects are created in one call, and changed by server-side apply. To the API server these are two
//! holders of fields, and it takes away what is applied no more only where nobody else holds it. So before
//! the first apply what is held since the creation is made over to it, as client-go's csaupgrade does for
//! those who move from client-side apply.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// The operator's name in `managedFields`.
pub const MANAGER: &str = "forward-operator";
/// The operations by which fields are held.
const CREATE: &str = "Update";
const APPLY: &str = "Apply";

/// Whether the operator holds fields as their creator.
pub fn is_as_created(fields: &[ManagedFieldsEntry]) -> bool {
    fields.iter().any(|entry| is_ours(entry, CREATE))
}

/// Make over to server-side apply what the operator holds as a creator. Answers whether there was any.
pub fn hold_by_apply(fields: &mut Vec<ManagedFieldsEntry>) -> bool {
    if !is_as_created(fields) {
        return false;
    }
    // There is one of each: what an operator of another release has applied meanwhile is the newer.
    let is_applied = fields.iter().any(|entry| is_ours(entry, APPLY));
    fields.retain(|entry| !(is_applied && is_ours(entry, CREATE)));
    for entry in fields.iter_mut().filter(|entry| is_ours(entry, CREATE)) {
        entry.operation = Some(APPLY.to_owned());
    }
    true
}

fn is_ours(entry: &ManagedFieldsEntry, operation: &str) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some(operation)
        && entry.subresource.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn entry(manager: &str, operation: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
               "fieldsV1": {"f:data": {format!("f:{field}"): {}}}})
    }

    #[test]
    fn what_was_created_is_held_as_applied() {
        let others = || [entry("kubectl", "Update", "a"), entry("forward-admission", "Apply", "b")];
        let [created, applied] = ["Update", "Apply"].map(|operation| entry(MANAGER, operation, "c"));
        let mut of_status = created.clone();
        of_status["subresource"] = json!("status");
        let newer = entry(MANAGER, "Apply", "d");
        for (own, after) in [
            (vec![created.clone()], Some(vec![applied.clone()])),
            (vec![created.clone(), of_status.clone()], Some(vec![applied.clone(), of_status.clone()])),
            (vec![created, newer.clone()], Some(vec![newer])),
            (vec![applied], None),
            (vec![of_status], None),
            (vec![], None),
        ] {
            let mut fields: Vec<_> =
                others().into_iter().chain(own.clone()).map(|it| from_value(it).unwrap()).collect();
            assert_eq!(is_as_created(&fields), after.is_some());
            assert_eq!(hold_by_apply(&mut fields), after.is_some());
            let expected: Vec<_> = others().into_iter().chain(after.unwrap_or(own)).collect();
            assert_eq!(to_value(&fields).unwrap(), json!(expected));
            assert!(!hold_by_apply(&mut fields));
        }
    }
}
