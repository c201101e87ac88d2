//! `application/x-www-form-urlencoded`, in which Stripe is asked.

use std::fmt::Write;

/// Fields in the order in which they are given.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        push(&mut form, name);
        form.push('=');
        push(&mut form, value);
    }
    form
}

fn push(form: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => form.push(byte.into()),
            other => write!(form, "%{other:02X}").expect("a String takes whatever is written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_apart_from_syntax() {
        let fields = [("metadata[a]", "1&b=2"), ("description", "für Ada +1 %")];
        assert_eq!(encode(&fields), "metadata%5Ba%5D=1%26b%3D2&description=f%C3%BCr%20Ada%20%2B1%20%25");
        assert_eq!(encode(&[]), "");
    }
}
