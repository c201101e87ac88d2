//! Who may call: what callers show, what plugins are told of them, and what is tried to get past.

mod bypass;
mod fetching;
mod keys;
mod tokens;

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use forward_gateway::callers::document::KeySet;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::*;

pub const READER: &str = "reader-kq7x-5v0t-9bnm";
pub const WRITER: &str = "writer-p2mz-8s1c-4dqh";
/// One that has ended, one that is for other plugins, and one that is too short to be random.
pub const OLD: &str = "old-w3er-7y2u-0pls-xk";
pub const ELSEWHERE: &str = "elsewhere-m4ht-1zqa";
pub const SHORT: &str = "short-key";
const CLOSE: &str = "Host: a\r\nConnection: close\r\n";

/// A hash as files have it.
pub fn hash(key: &str) -> String {
    let digits = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

/// Gives the gateway the set `partners`, for all plugins of `test`.
pub fn know_partners(gateway: &Gateway) {
    let keys = json!({"plugins": ["test/*"], "keys": [
        {"hash": hash(READER), "subject": "acme", "permissions": ["orders:read"]},
        {"hash": hash(WRITER), "subject": "globex", "permissions": ["orders:write", "orders:read"]},
        {"hash": hash(OLD), "subject": "initech", "expires": "2020-01-01T00:00:00Z"},
        {"hash": hash(ELSEWHERE), "subject": "umbrella", "plugins": ["test/other"]},
        {"hash": hash(SHORT), "subject": "hooli"},
    ]});
    fill(gateway, &[("partners", keys)]);
}

pub fn fill(gateway: &Gateway, sets: &[(&str, Value)]) {
    let parse = |set: &Value| Arc::new(KeySet::parse(&set.to_string()).unwrap());
    let sets = sets.iter().map(|(name, set)| ((*name).to_owned(), parse(set)));
    gateway.shared.callers.fill(&sets.collect::<BTreeMap<_, _>>());
}

pub fn partners() -> Value {
    json!({"name": "partners", "apiKey": {"keys": "partners"}})
}

/// One who issues tokens, with one key.
pub struct Signer {
    key: KeyPair,
    pub id: &'static str,
}

impl Signer {
    pub fn new(id: &'static str) -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), id }
    }

    pub fn public(&self) -> &[u8] {
        self.key.public_key_raw()
    }

    pub fn jwk(&self) -> Value {
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let public = self.public();
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": part(&public[1..33]), "y": part(&public[33..])})
    }

    /// A token with these claims besides, or in the place of, good ones.
    pub fn token(&self, claims: Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        self.sign(&header, claims)
    }

    pub fn sign(&self, header: &Header, claims: Value) -> String {
        encode(header, &good(claims), &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }
}

/// Claims that hold, but for these. What is null is left out.
pub fn good(claims: Value) -> Value {
    let now = get_current_timestamp();
    let mut all =
        json!({"iss": "https://id.example", "aud": "shop", "sub": "ada", "iat": now, "exp": now + 600});
    let all = all.as_object_mut().unwrap();
    all.extend(claims.as_object().unwrap().clone());
    all.retain(|_, value| !value.is_null());
    json!(all)
}

/// The entry `people`, which knows tokens of these signers.
pub fn people(signers: &[&Signer]) -> Value {
    let keys = signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>();
    json!({"name": "people", "jwt": {
        "issuer": "https://id.example", "audiences": ["shop", "bank"], "algorithms": ["ES256", "EdDSA"],
        "jwks": {"keys": keys},
    }})
}

/// An entry with other settings too.
pub fn with(mut entry: Value, kind: &str, settings: Value) -> Value {
    entry[kind].as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    entry
}

/// What a GET with these headers is answered.
pub async fn get(gateway: &Gateway, headers: &str) -> String {
    get_at(gateway, "/x", headers).await
}

pub async fn get_at(gateway: &Gateway, target: &str, headers: &str) -> String {
    gateway.ask(&format!("GET {target} HTTP/1.1\r\n{CLOSE}{headers}\r\n")).await
}

/// All values of `WWW-Authenticate`.
pub fn challenges(answer: &str) -> Vec<&str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.lines().filter_map(|line| line.strip_prefix("www-authenticate: ")).collect()
}

/// What the plugin was told of the caller: subject, permissions, how it is known.
pub fn told(answer: &str) -> (Option<&str>, Option<&str>, Option<&str>) {
    let seen = body(answer);
    let told = |name| value(seen, name);
    (told("x-forward-subject"), told("x-forward-permissions"), told("x-forward-auth-method"))
}
