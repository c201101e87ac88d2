//! The header `Idempotency-Key`: with the same key, the same thing is done once.

use forward_sdk::{
    Problem,
    axum::{
        extract::FromRequestParts,
        http::{StatusCode, request::Parts},
    },
};

const HEADER: &str = "idempotency-key";
/// The longest key, in characters.
const LONGEST: usize = 255;

/// The key of a request, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| is_key(key));
        match key {
            Some(key) if values.next().is_none() => Ok(Self(Some(key.to_owned()))),
            _ => {
                let detail = "Idempotency-Key must be one value of 1 to 255 printable ASCII characters";
                Err(Problem::new(StatusCode::BAD_REQUEST, detail).code("idempotency_key_invalid"))
            }
        }
    }
}

fn is_key(key: &str) -> bool {
    (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use forward_sdk::axum::http::Request;

    use super::*;

    async fn extract(values: &[&str]) -> Result<Option<String>, Problem> {
        let request = values.iter().fold(Request::builder(), |request, value| request.header(HEADER, *value));
        let mut parts = request.body(()).unwrap().into_parts().0;
        IdempotencyKey::from_request_parts(&mut parts, &()).await.map(|key| key.0)
    }

    #[tokio::test]
    async fn takes_one_printable_key() {
        assert_eq!(extract(&[]).await, Ok(None));
        assert_eq!(extract(&["order 7"]).await, Ok(Some("order 7".to_owned())));
        for wrong in [&[""][..], &["a", "b"], &["schlüssel"], &["a\tb"], &["k".repeat(256).as_str()]] {
            assert_eq!(extract(wrong).await.unwrap_err().status(), StatusCode::BAD_REQUEST, "{wrong:?}");
        }
    }
}
