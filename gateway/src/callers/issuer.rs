//! The keys of one who issues tokens, and what a token says if it holds.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use forward_crds::Algorithm;
use forward_plan::middleware::{IssuerKeys, Jwk, Jwks, Jwt, Material, is_permission};
use jsonwebtoken::{self as jwt, DecodingKey, Validation, errors::ErrorKind};
use serde_json::Value;

use super::{Caller, Callers};

/// An issuer whose keys are fetched.
#[derive(Debug)]
pub struct Issuer {
    pub url: String,
    /// The last good ones; `None` before there are any.
    keys: ArcSwapOption<Keys>,
    /// A token has named a key that is not among them.
    wanted: AtomicBool,
}

impl Issuer {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), keys: ArcSwapOption::empty(), wanted: AtomicBool::new(false) }
    }

    /// Go by these from now on.
    pub fn set(&self, keys: Keys) {
        self.keys.store(Some(Arc::new(keys)));
    }

    pub fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Whether a key was asked for that is not there.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// The keys are being fetched: what was asked for so far is looked for.
    pub fn serve_wanted(&self) {
        self.wanted.store(false, Relaxed);
    }
}

/// Keys that verify signatures.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Keys {
    /// Those of a set. One that cannot be used after all is passed over.
    pub fn new(set: &Jwks) -> Self {
        let key = |jwk: &Jwk| {
            let Jwk { id, algorithms, material } = jwk;
            let key = match material {
                Material::Rsa { n, e } => DecodingKey::from_rsa_components(n, e),
                Material::Ec { x, y } => DecodingKey::from_ec_components(x, y),
                Material::Ed { x } => DecodingKey::from_ed_components(x),
            };
            Some(Key { id: id.clone(), algorithms: algorithms.clone(), key: key.ok()? })
        };
        Self(set.keys().iter().filter_map(key).collect())
    }

    /// The key that a token is signed with: the one that it names, or the only one of its algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, TokenError> {
        let fits =
            |key: &&Key| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id);
        let mut fitting = self.0.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.key),
            (None, _) => Err(TokenError::UnknownKey),
            (Some(_), Some(_)) => Err(TokenError::ManyKeys),
        }
    }
}

/// Why a token says nothing of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There are no keys yet.
    #[error("the issuer's keys are not there yet")]
    NoKeys,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("the token is signed with a key that its issuer does not show")]
    UnknownKey,
    #[error("the token does not say which of the issuer's keys it is signed with")]
    ManyKeys,
    #[error("the token's signature does not hold")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token does not hold yet")]
    Early,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token lacks a claim, or has one that is malformed")]
    Claim,
    #[error("the token does not say who asks, in visible ASCII characters")]
    Subject,
}

/// What a token must be like.
#[derive(Debug)]
pub struct Verifier {
    policy: Jwt,
    /// For each algorithm that is accepted.
    validations: Vec<(jwt::Algorithm, Algorithm, Validation)>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Inline(Keys),
    Remote(Arc<Issuer>),
}

impl Verifier {
    pub fn new(policy: &Jwt, callers: &Callers) -> Self {
        let validation = |algorithm: &Algorithm| {
            let named = name(*algorithm);
            let mut validation = Validation::new(named);
            validation.set_issuer(&[&policy.issuer]);
            validation.set_audience(&policy.audiences);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation.validate_nbf = true;
            validation.leeway = policy.skew.as_secs();
            (named, *algorithm, validation)
        };
        let source = match &policy.keys {
            IssuerKeys::Inline(set) => Source::Inline(Keys::new(set)),
            IssuerKeys::Remote(url) => Source::Remote(callers.issuer(url)),
        };
        let validations = policy.algorithms.iter().map(validation).collect();
        Self { policy: policy.clone(), validations, source }
    }

    /// Who asks with a token, at a time in seconds since 1970.
    pub fn verify(&self, token: &str, now: i64) -> Result<Arc<Caller>, TokenError> {
        let claims = match &self.source {
            Source::Inline(keys) => self.claims(keys, token)?,
            Source::Remote(issuer) => {
                let keys = issuer.keys.load();
                let claims = self.claims(keys.as_ref().ok_or(TokenError::NoKeys)?, token);
                if claims == Err(TokenError::UnknownKey) {
                    issuer.wanted.store(true, Relaxed);
                }
                claims?
            }
        };
        self.is_issued(&claims, now)?;
        let subject = self.policy.subject.of(&claims).and_then(Value::as_str).ok_or(TokenError::Subject)?;
        let permissions = self.policy.permissions.of(&claims).map(permissions).unwrap_or_default();
        Caller::new(subject, permissions).map(Arc::new).ok_or(TokenError::Subject)
    }

    /// The claims of a token whose signature holds, and that is for us, from whom it should be and
    /// within its time. What the token says of its algorithm chooses among those that are accepted.
    fn claims(&self, keys: &Keys, token: &str) -> Result<Value, TokenError> {
        let header = jwt::decode_header(token).map_err(|error| reason(error.kind()))?;
        let accepted = self.validations.iter().find(|(named, ..)| *named == header.alg);
        let (_, algorithm, validation) = accepted.ok_or(TokenError::Algorithm)?;
        let key = keys.find(header.kid.as_deref(), *algorithm)?;
        let decoded = jwt::decode::<Value>(token, key, validation);
        Ok(decoded.map_err(|error| reason(error.kind()))?.claims)
    }

    /// Not in the future. Without `iat` there is nothing to say.
    fn is_issued(&self, claims: &Value, now: i64) -> Result<(), TokenError> {
        let Some(issued) = claims.get("iat") else { return Ok(()) };
        let latest = (now.saturating_add_unsigned(self.policy.skew.as_secs())) as f64;
        match issued.as_f64() {
            Some(issued) if issued <= latest => Ok(()),
            Some(_) => Err(TokenError::Early),
            None => Err(TokenError::Claim),
        }
    }
}

/// Words with spaces between, or a list of words. What is no permission is none: one of two words,
/// say, which a plugin would take for two.
fn permissions(claim: &Value) -> BTreeSet<String> {
    let words: Vec<&str> = match claim {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    words.into_iter().filter(|word| is_permission(word)).map(str::to_owned).collect()
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::Early,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claim,
        _ => TokenError::Malformed,
    }
}

fn name(algorithm: Algorithm) -> jwt::Algorithm {
    match algorithm {
        Algorithm::RS256 => jwt::Algorithm::RS256,
        Algorithm::RS384 => jwt::Algorithm::RS384,
        Algorithm::RS512 => jwt::Algorithm::RS512,
        Algorithm::PS256 => jwt::Algorithm::PS256,
        Algorithm::PS384 => jwt::Algorithm::PS384,
        Algorithm::PS512 => jwt::Algorithm::PS512,
        Algorithm::ES256 => jwt::Algorithm::ES256,
        Algorithm::ES384 => jwt::Algorithm::ES384,
        Algorithm::EdDSA => jwt::Algorithm::EdDSA,
    }
}
