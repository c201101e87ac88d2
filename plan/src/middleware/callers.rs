//! How callers are known, and what they must be permitted.

use std::{collections::BTreeSet, time::Duration};

use forward_crds::{self as crds, Algorithm};
use http::HeaderName;
use serde_json::Value;

use super::{StepError, headers::changeable, jwks::Jwks};

/// By how much clocks may differ.
const MOST_SKEW: Duration = Duration::from_secs(5 * 60);

/// Callers are known by a key.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The set of keys.
    pub keys: String,
    /// Where the key is.
    pub place: Place,
    /// A parameter of the query that may hold the key as well.
    pub query: Option<String>,
}

/// Callers are known by a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// Who has signed it.
    pub issuer: String,
    /// Whom it must be for: one of these.
    pub audiences: Vec<String>,
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// What with.
    pub keys: IssuerKeys,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// Says who asks.
    pub subject: Claim,
    /// Says what the caller is permitted.
    pub permissions: Claim,
    /// Where the token is.
    pub place: Place,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKeys {
    /// Here.
    Inline(Jwks),
    /// They are fetched from this address.
    Remote(String),
}

/// Where a credential is, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The header.
    pub header: HeaderName,
    /// The plugin sees it.
    pub forward: bool,
    /// There need not be one.
    pub optional: bool,
}

/// A claim of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// By its name.
    Named(String),
    /// By a JSON pointer.
    Pointer(String),
}

/// What callers must be permitted: all of these, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions(BTreeSet<String>);

impl ApiKey {
    pub(super) fn read(key: &crds::ApiKey) -> Result<Self, StepError> {
        let crds::ApiKey { keys, header, query, forward, optional } = key;
        if keys.is_empty() {
            return Err(StepError::Missing("keys"));
        }
        let place = Place::read(header, *forward, *optional)?;
        Ok(Self { keys: keys.clone(), place, query: query.clone() })
    }
}

impl Jwt {
    pub(super) fn read(jwt: &crds::Jwt) -> Result<Self, StepError> {
        let crds::Jwt {
            issuer,
            audiences,
            algorithms,
            jwks_url,
            jwks,
            clock_skew,
            subject_claim,
            permissions_claim,
            header,
            forward,
            optional,
        } = jwt;
        // A token without these would hold for whoever can get one signed for any purpose.
        for (field, is_empty) in [
            ("issuer", issuer.is_empty()),
            ("audiences", audiences.is_empty()),
            ("algorithms", algorithms.is_empty()),
        ] {
            if is_empty {
                return Err(StepError::Missing(field));
            }
        }
        let keys = match (jwks, jwks_url) {
            (Some(set), None) => IssuerKeys::Inline(Jwks::read(&Value::Object(set.clone()), algorithms)?),
            (None, Some(url)) if url.starts_with("https://") => IssuerKeys::Remote(url.clone()),
            (None, Some(url)) => return Err(StepError::KeysUrl(url.clone())),
            _ => return Err(StepError::Missing("one of jwks and jwksUrl")),
        };
        let skew = clock_skew.get();
        if skew > MOST_SKEW {
            let value = i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
            return Err(StepError::OutOfRange { field: "clockSkew in seconds", value });
        }
        Ok(Self {
            issuer: issuer.clone(),
            audiences: audiences.clone(),
            algorithms: algorithms.clone(),
            keys,
            skew,
            subject: Claim::new(subject_claim),
            permissions: Claim::new(permissions_claim),
            place: Place::read(header, *forward, *optional)?,
        })
    }
}

impl Place {
    fn read(header: &str, forward: bool, optional: bool) -> Result<Self, StepError> {
        Ok(Self { header: changeable(header)?, forward, optional })
    }
}

impl Claim {
    fn new(text: &str) -> Self {
        if text.starts_with('/') { Self::Pointer(text.to_owned()) } else { Self::Named(text.to_owned()) }
    }

    /// What a token's claims say.
    pub fn of<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Named(name) => claims.get(name),
            Self::Pointer(pointer) => claims.pointer(pointer),
        }
    }
}

impl Permissions {
    pub(super) fn read(permissions: &crds::Permissions) -> Result<Self, StepError> {
        let crds::Permissions { require } = permissions;
        // A list that is empty by mistake must not let in whoever is known.
        if require.as_ref().is_some_and(Vec::is_empty) {
            return Err(StepError::Missing("require"));
        }
        let require = require.as_deref().unwrap_or_default();
        match require.iter().find(|name| !is_permission(name)) {
            Some(name) => Err(StepError::Permission(name.clone())),
            None => Ok(Self(require.iter().cloned().collect())),
        }
    }

    /// The first that is not among those that a caller has.
    pub fn missing<'a>(&'a self, granted: &BTreeSet<String>) -> Option<&'a str> {
        self.0.iter().find(|name| !granted.contains(*name)).map(String::as_str)
    }
}

/// Whether a text names one permission: as RFC 6749 has it, so that a list of them with spaces
/// between can be read in one way.
pub fn is_permission(text: &str) -> bool {
    let is_part = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    (1..=128).contains(&text.len()) && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_what_is_missing() {
        let require = vec!["orders:read".to_owned(), "orders:write".to_owned()];
        let needed = Permissions::read(&crds::Permissions { require: Some(require) }).unwrap();
        let missing = |granted: &[&str]| {
            needed.missing(&granted.iter().map(|it| (*it).to_owned()).collect()).map(str::to_owned)
        };
        assert_eq!(missing(&[]).as_deref(), Some("orders:read"));
        assert_eq!(missing(&["orders:read"]).as_deref(), Some("orders:write"));
        assert_eq!(
            missing(&["orders:read", "orders", "orders:*", "ORDERS:WRITE"]).as_deref(),
            Some("orders:write")
        );
        assert_eq!(missing(&["orders:write", "other", "orders:read"]), None);
        let anybody = Permissions::read(&crds::Permissions { require: None }).unwrap();
        assert_eq!(anybody.missing(&BTreeSet::new()), None);
    }

    #[test]
    fn a_permission_is_one_word() {
        for text in ["orders:read", "a", "https://x.example/y", "*"] {
            assert!(is_permission(text), "{text:?}");
        }
        for text in ["", "a b", "a\tb", "a\"b", "a\\b", "ä", "a\n", &"a".repeat(129)] {
            assert!(!is_permission(text), "{text:?}");
        }
    }

    #[test]
    fn finds_claims_by_name_and_by_pointer() {
        let claims = json!({"scope": "a", "https://x.example/roles": "b", "realm": {"roles": ["c"]}});
        let of = |claim: &str| Claim::new(claim).of(&claims).cloned();
        assert_eq!(of("scope"), Some(json!("a")));
        assert_eq!(of("https://x.example/roles"), Some(json!("b")));
        assert_eq!(of("/realm/roles"), Some(json!(["c"])));
        assert_eq!((of("realm/roles"), of("/scope/a")), (None, None));
    }
}
