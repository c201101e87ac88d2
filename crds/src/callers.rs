//! Who may call: how the gateway knows callers, and what they must be permitted.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Duration, defaults, rules::middleware as own, schema};

/// Callers are known by a key. The keys stand, as hashes, in a Secret of the gateway's namespace
/// that the chart names (value `gateway.apiKeys.secretNames`), and so does who may use them here.
/// Without a key the answer is 401, and likewise with one that is not known, has expired or is for
/// other plugins. Where the gateway does not have the keys, it is 503.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The set of keys: the name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub keys: String,
    /// The header with the key. In `Authorization` the key stands behind the scheme ApiKey or Bearer.
    #[serde(default = "defaults::api_key_header")]
    #[schemars(
        default = "defaults::api_key_header",
        length(min = 1, max = 64),
        regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    )]
    #[x_kube(validation = own::header_name_is_not_ours())]
    pub header: String,
    /// A parameter of the query that may hold the key as well. Absent: none, since addresses are
    /// written down in many places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub query: Option<String>,
    /// Whether the plugin sees the key.
    #[serde(default)]
    pub forward: bool,
    /// Whether requests without a key go on, as those of nobody. One with a wrong key does not.
    #[serde(default)]
    pub optional: bool,
}

/// Callers are known by a JSON Web Token (RFC 7519) that their issuer has signed. Without a token the
/// answer is 401, and likewise with one that does not hold. While the gateway has no key of the issuer
/// yet, it is 503.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::jwt_has_one_source_of_keys())]
pub struct Jwt {
    /// The issuer, exactly as the claim `iss` has it.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// Whom tokens must be for: the claim `aud` has at least one of these.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Vec<String>,
    /// The algorithms that tokens may be signed with, whatever they say themselves.
    #[schemars(length(min = 1, max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub algorithms: Vec<Algorithm>,
    /// Where the issuer's keys are fetched from (a JWK Set, RFC 7517): every five minutes, and when a
    /// token names a key that is not known. The last good ones are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$"))]
    pub jwks_url: Option<String>,
    /// The issuer's keys themselves, in place of `jwksUrl`: a JWK Set of public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub jwks: Option<Map<String, Value>>,
    /// By how much the clocks of issuer and gateway may differ, at most 5m.
    #[serde(default = "defaults::clock_skew")]
    #[schemars(default = "defaults::clock_skew")]
    #[x_kube(validation = own::at_most_five_minutes())]
    pub clock_skew: Duration,
    /// The claim that says who asks.
    #[serde(default = "defaults::subject_claim")]
    #[schemars(default = "defaults::subject_claim", length(min = 1, max = 256))]
    pub subject_claim: String,
    /// The claim that says what the caller is permitted: words with spaces between them, or a list.
    /// With a `/` in front it is a JSON pointer, for example /realm_access/roles.
    #[serde(default = "defaults::permissions_claim")]
    #[schemars(default = "defaults::permissions_claim", length(min = 1, max = 256))]
    pub permissions_claim: String,
    /// The header with the token. In `Authorization` the token stands behind the scheme Bearer.
    #[serde(default = "defaults::jwt_header")]
    #[schemars(
        default = "defaults::jwt_header",
        length(min = 1, max = 64),
        regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    )]
    #[x_kube(validation = own::header_name_is_not_ours())]
    pub header: String,
    /// Whether the plugin sees the token.
    #[serde(default)]
    pub forward: bool,
    /// Whether requests without a token go on, as those of nobody. One with a wrong token does not.
    #[serde(default)]
    pub optional: bool,
}

/// How a token is signed: with a private key only, so that nobody can pass a public one for a secret.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum Algorithm {
    /// RSA (PKCS #1 1.5) with SHA-256.
    RS256,
    /// RSA (PKCS #1 1.5) with SHA-384.
    RS384,
    /// RSA (PKCS #1 1.5) with SHA-512.
    RS512,
    /// RSA (PSS) with SHA-256.
    PS256,
    /// RSA (PSS) with SHA-384.
    PS384,
    /// RSA (PSS) with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// What callers must be permitted. Who is not gets 403, and nobody in particular 401.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// All of these, exactly as a key or a token has them, for example orders:read. Absent: whoever is known
    /// may pass, and nobody else, also while there is nobody to say who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 128), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub require: Option<Vec<String>>,
}
