//! Ids: a word for the kind of thing, then 32 hexadecimal digits that begin with the time, so that
//! ids sort by age.

use uuid::Uuid;

pub const PAYMENT: &str = "pay_";
pub const REFUND: &str = "re_";

/// A new id of a kind.
pub fn new(kind: &str) -> String {
    format!("{kind}{}", Uuid::now_v7().simple())
}

/// Whether a text can be an id of a kind. Others need not be looked for.
pub fn is_id(kind: &str, text: &str) -> bool {
    let digits = text.strip_prefix(kind).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_ids() {
        assert!(is_id(PAYMENT, &new(PAYMENT)));
        assert!(!is_id(PAYMENT, &new(REFUND)));
        for other in ["", "pay_", "pay_0", "pay_0190B0C0D0E0F0000000000000000000"] {
            assert!(!is_id(PAYMENT, other), "{other}");
        }
    }

    #[test]
    fn ids_sort_by_age() {
        let ids: Vec<_> = (0..100).map(|_| new(PAYMENT)).collect();
        assert!(ids.is_sorted());
    }
}
