//! The public keys of an issuer of tokens: a JWK Set (RFC 7517), of which the keys are taken that
//! verify signatures of the algorithms that there are here.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use forward_crds::Algorithm;
use serde::Deserialize;
use serde_json::Value;

/// How many keys a set may have. A token that names none could be tried with each.
const MOST: usize = 64;
/// The bytes of a modulus of RSA: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of an issuer that can be used; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks(Vec<Jwk>);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// What tokens call it.
    pub id: Option<String>,
    /// What it verifies signatures of; at least one.
    pub algorithms: Vec<Algorithm>,
    /// The key.
    pub material: Material,
}

/// What a public key is made of, in base64url as JWKs have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Of RSA: modulus and exponent.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point of an elliptic curve.
    Ec {
        /// The first coordinate.
        x: String,
        /// The second one.
        y: String,
    },
    /// A point of Ed25519.
    Ed {
        /// The point.
        x: String,
    },
}

/// Why a text is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It does not have the form of one.
    #[error("the JWK Set is not an object with a list \"keys\"")]
    Form,
    /// It has too many keys.
    #[error("the JWK Set has {0} keys, more than {MOST}")]
    TooMany(usize),
    /// It has a key that nobody else should have.
    #[error("the JWK Set has a private or secret key, number {0}: it can no longer be trusted")]
    Private(usize),
    /// It has no key for any of the algorithms.
    #[error("the JWK Set has no public key for any of the algorithms")]
    NoneUsable,
}

/// A JWK as it is written.
#[derive(Deserialize)]
struct Written {
    kty: String,
    #[serde(default)]
    r#use: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl Jwks {
    /// The keys of a set that verify signatures of one of these algorithms. Others are passed over,
    /// as RFC 7517 wants it: an issuer may have them for other purposes.
    ///
    /// # Errors
    /// What is no set, has a private key, or none that can be used.
    pub fn read(set: &Value, algorithms: &[Algorithm]) -> Result<Self, JwksError> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(JwksError::Form)?;
        if keys.len() > MOST {
            return Err(JwksError::TooMany(keys.len()));
        }
        // `d` is the private part of every kind of key, `k` a secret.
        let is_private = |key: &Value| key.get("d").is_some() || key.get("k").is_some();
        if let Some(number) = keys.iter().position(is_private) {
            return Err(JwksError::Private(number + 1));
        }
        let read = |key: &Value| Jwk::read(&Written::deserialize(key).ok()?, algorithms);
        let usable = keys.iter().filter_map(read).collect::<Vec<_>>();
        if usable.is_empty() { Err(JwksError::NoneUsable) } else { Ok(Self(usable)) }
    }

    /// The keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.0
    }
}

impl Jwk {
    /// `None` for a key that is not for signatures of these algorithms, or malformed.
    fn read(key: &Written, wanted: &[Algorithm]) -> Option<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let Written { kty, r#use, key_ops, alg, kid, crv, n, e, x, y } = key;
        let is_for_signatures = r#use.as_ref().is_none_or(|it| it == "sig")
            && key_ops.as_ref().is_none_or(|it| it.iter().any(|it| it == "verify"));
        if !is_for_signatures {
            return None;
        }
        let sized = |text: &Option<String>, sizes: std::ops::RangeInclusive<usize>| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()?;
            sizes.contains(&bytes.len()).then(|| text.clone()).flatten()
        };
        let (material, possible): (_, &[Algorithm]) = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => {
                let material = Material::Rsa { n: sized(n, MODULUS)?, e: sized(e, 1..=8)? };
                (material, &[RS256, RS384, RS512, PS256, PS384, PS512])
            }
            ("EC", Some("P-256")) => {
                (Material::Ec { x: sized(x, 32..=32)?, y: sized(y, 32..=32)? }, &[ES256])
            }
            ("EC", Some("P-384")) => {
                (Material::Ec { x: sized(x, 48..=48)?, y: sized(y, 48..=48)? }, &[ES384])
            }
            ("OKP", Some("Ed25519")) => (Material::Ed { x: sized(x, 32..=32)? }, &[EdDSA]),
            _ => return None,
        };
        let named = |algorithm: &&Algorithm| alg.as_ref().is_none_or(|alg| *alg == format!("{algorithm:?}"));
        let is_wanted = |algorithm: &&Algorithm| wanted.contains(algorithm);
        let algorithms = possible.iter().filter(named).filter(is_wanted).copied().collect::<Vec<_>>();
        (!algorithms.is_empty()).then(|| Self { id: kid.clone(), algorithms, material })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    /// A key's name, and what it is for.
    type Named = (Option<String>, Vec<Algorithm>);

    fn read(keys: Value, algorithms: &[Algorithm]) -> Result<Vec<Named>, JwksError> {
        let set = Jwks::read(&json!({"keys": keys}), algorithms)?;
        Ok(set.keys().iter().map(|key| (key.id.clone(), key.algorithms.clone())).collect())
    }

    #[test]
    fn takes_keys_for_the_algorithms_that_are_wanted_and_passes_over_others() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
        let n = BASE64_URL_SAFE_NO_PAD.encode([255; 256]);
        let keys = json!([
            {"kty": "RSA", "kid": "any", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "one", "alg": "RS256", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "encrypts", "use": "enc", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "signs", "key_ops": ["sign"], "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
            {"kty": "EC", "kid": "point", "crv": "P-256", "x": X, "y": X},
            {"kty": "EC", "kid": "wrong-size", "crv": "P-384", "x": X, "y": X},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": X},
            {"kty": "OKP", "kid": "x", "crv": "X25519", "x": X},
            {"kty": "new", "kid": "unknown"},
            5,
        ]);
        let all = read(keys.clone(), &[RS256, PS256, ES256, ES384, EdDSA]).unwrap();
        let named = |id: &str, algorithms: &[Algorithm]| (Some(id.to_owned()), algorithms.to_vec());
        let expected = [
            named("any", &[RS256, PS256]),
            named("one", &[RS256]),
            named("point", &[ES256]),
            named("ed", &[EdDSA]),
        ];
        assert_eq!(all, expected);
        assert_eq!(read(keys.clone(), &[EdDSA]).unwrap(), [named("ed", &[EdDSA])]);
        assert_eq!(read(keys, &[ES384]), Err(JwksError::NoneUsable));
    }

    #[test]
    fn refuses_secrets_and_what_is_no_set() {
        let all = [Algorithm::EdDSA];
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": X});
        let private = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "d": X});
        let secret = json!({"kty": "oct", "k": X});
        assert_eq!(read(json!([public, private]), &all), Err(JwksError::Private(2)));
        assert_eq!(read(json!([secret]), &all), Err(JwksError::Private(1)));
        assert_eq!(read(json!([]), &all), Err(JwksError::NoneUsable));
        assert_eq!(read(json!({}), &all), Err(JwksError::Form));
        assert_eq!(Jwks::read(&json!("keys"), &all), Err(JwksError::Form));
        assert_eq!(read(json!(vec![public; 65]), &all), Err(JwksError::TooMany(65)));
    }
}
