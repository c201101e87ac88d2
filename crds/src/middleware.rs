//! Middleware: what the gateway does with requests and answers besides carrying them.

use std::fmt;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiKey, CircuitBreaker, Concurrency, Duration, Fallback, Jwt, Permissions, Retry, Validate, defaults,
    rules::{self, middleware as own},
};

/// One thing that the gateway does with requests, or with the answers to them. Exactly one of the
/// fields after `routes` says what. Entries act in the order of their phases, which their kind
/// implies, then of `priority` (higher first), then of `name`; answers pass them the other way
/// round. `status.middleware` shows the order.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::exactly_one_kind(), validation = own::circuit_breaker_is_for_all_routes())]
pub struct Middleware {
    /// The name, by which the status, problems and RateLimit headers speak of it.
    #[schemars(length(max = 63))]
    #[x_kube(validation = own::name())]
    pub name: String,
    /// Who acts first within a phase. Higher is first.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// The routes that it is for, those that the plugin announces among them. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub routes: Vec<RouteSelector>,
    /// Phase Identify: who may ask, by address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_filter: Option<IpFilter>,
    /// Phase Identify: pages of which other origins may read the answers (the CORS protocol).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Phase Authenticate: who asks, by a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// Phase Authenticate: who asks, by a token that an issuer has signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Phase Authorize: what a caller must be permitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// Phase Limit: how many requests may come in how much time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Phase Limit: how large the body of a request may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<BodyLimit>,
    /// Phase Limit: how long the plugin may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Phase Limit: when a pod that fails is left alone for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Phase Limit: which requests are sent once more, to another pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Phase Limit: how many requests the plugin may have under way, and who goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Phase Transform: what a request must be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<Validate>,
    /// Phase Transform: change headers on their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Phase Transform: send the client somewhere else, without asking the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Phase Transform: always the same answer, without asking the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Phase Transform: what is answered where the plugin cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Phase Transform: make answers smaller for clients that take that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Phase Observe: write a line into the gateway's log for some of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSample>,
}

/// Routes of a plugin, by their path pattern.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct RouteSelector {
    /// The path pattern of the route. What its parameters are called does not matter.
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::path_is_pattern())]
    pub path: String,
    /// The method that the route names. Absent: whatever it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::method_is_known())]
    pub method: Option<String>,
}

/// Who may ask, by address: that of the connection or, where a trusted proxy is at its other end
/// (the gateway's `--trusted-proxies`), the one that the proxy speaks for. Others get 403.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::ip_filter_filters())]
pub struct IpFilter {
    /// Networks that may ask, for example 10.0.0.0/8. Absent: all that `deny` does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 43)))]
    #[x_kube(validation = own::networks(), merge_strategy = ListMerge::Set)]
    pub allow: Vec<String>,
    /// Networks that may not, also where `allow` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 43)))]
    #[x_kube(validation = own::networks(), merge_strategy = ListMerge::Set)]
    pub deny: Vec<String>,
}

/// The CORS protocol, by which browsers ask whether a page of one origin may read what another
/// one answers. The gateway answers the browsers' own questions (preflights) itself, and what the
/// plugin says in headers of this protocol is replaced. Requests are not refused by it: whoever is no
/// browser never asks.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::no_credentials_for_everybody())]
pub struct Cors {
    /// The origins that may, for example https://shop.example.com, or `*` for every origin.
    #[schemars(length(min = 1, max = 64), inner(length(max = 320)))]
    #[x_kube(validation = own::origins(), merge_strategy = ListMerge::Set)]
    pub origins: Vec<String>,
    /// The methods that pages may use. Absent: those that have a route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 16), regex(pattern = "^[A-Z]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<String>,
    /// Headers of requests that pages may set, besides those that every page may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub headers: Vec<String>,
    /// Headers of answers that pages may read, besides those that every page may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub expose_headers: Vec<String>,
    /// Whether pages may send cookies and other credentials along.
    #[serde(default)]
    pub credentials: bool,
    /// How long browsers may remember the answer to their question, in whole seconds. Absent: what
    /// they do by themselves, which is 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// How many requests may come: `requests` in each `per`, and no more than `burst` at once (a token
/// bucket). What is above gets 429 with Retry-After; every answer carries RateLimit-Policy and
/// RateLimit. The ready replicas of the gateway share the limit out evenly, so that all of them
/// together never let more through.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::burst_is_within(), validation = own::header_needs_by_header())]
pub struct RateLimit {
    /// How many requests in each `per`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i64,
    /// The time that `requests` are for, at most 24h.
    #[serde(default = "defaults::second")]
    #[schemars(default = "defaults::second")]
    #[x_kube(validation = own::at_most_a_day())]
    pub per: Duration,
    /// How many of them may come at once. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i64>,
    /// Whose requests are counted together.
    #[serde(default)]
    pub by: RateKey,
    /// With `by: Header`, which one. Requests that do not have it exactly once are counted by their
    /// address. Clients choose their headers: it should be one that something before vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub header: Option<String>,
}

/// Whose requests are counted together.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateKey {
    /// Those from one address, as `ipFilter` knows it; of IPv6 those from one /64, which is what one
    /// client has.
    #[default]
    Address,
    /// Those with the same value of a header.
    Header,
    /// All.
    Everyone,
}

/// How large the body of a request may be. What is larger gets 413, at once where its length is
/// known, else when that many bytes have passed: the plugin then sees a request that breaks off.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BodyLimit {
    /// The most bytes; 0 for no body at all.
    #[schemars(range(min = 0))]
    pub max_bytes: i64,
}

/// How long the plugin may take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::timeout_times())]
pub struct Timeout {
    /// From the end of the request to the head of the answer; then 504. Absent: what the gateway is
    /// told (chart value `gateway.upstreamTimeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Duration>,
    /// Between two pieces of the answer's body, while the client takes them; then the answer breaks
    /// off. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
}

/// Headers to change on their way. Where several entries change the same one, the plugin sees what
/// the last of them made of it, and the client what the first did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::headers_change())]
pub struct Headers {
    /// Those of the request, before the plugin sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<HeaderChanges>,
    /// Those of the answer, before the client sees it. Answers of the gateway itself are changed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<HeaderChanges>,
}

/// Changes of headers: `remove`, then `set`, then `add`. Headers that say where a message ends, how
/// it is carried and who asked are the gateway's and cannot be changed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderChanges {
    /// Headers to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))
    )]
    #[x_kube(validation = own::header_names_are_not_ours(), merge_strategy = ListMerge::Set)]
    pub remove: Vec<String>,
    /// Headers to have with this value, in the place of what was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub set: Vec<Header>,
    /// Headers to have besides what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub add: Vec<Header>,
}

/// A header.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name, in any case.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    #[x_kube(validation = own::header_name_is_not_ours())]
    pub name: String,
    /// Its value: visible ASCII characters and, between them, spaces.
    #[schemars(length(max = 1024), regex(pattern = "^([!-~]([ -~]*[!-~])?)?$"))]
    pub value: String,
}

/// Where the client is sent. What is absent stays as the client asked for it, the query always does.
/// A request that already is for that place goes on to the plugin, so that a redirect to https does
/// not go round in circles.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::redirect_leads_somewhere())]
pub struct Redirect {
    /// The scheme. What a client asked for is http, unless a trusted proxy says otherwise
    /// (X-Forwarded-Proto).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host, with a port where that is not the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 260),
        regex(pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$")
    )]
    pub host: Option<String>,
    /// The path, without a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 512),
        regex(pattern = "^/([a-zA-Z0-9._~!$&'()*+,;=:@%-]([a-zA-Z0-9._~!$&'()*+,;=:@/%-])*)?$")
    )]
    pub path: Option<String>,
    /// 301 or 308 for good, 302 or 307 for now, 303 to ask for the answer with GET.
    #[serde(default = "defaults::redirect_status")]
    #[schemars(default = "defaults::redirect_status")]
    #[x_kube(validation = own::redirect_status())]
    pub status: i32,
}

/// The scheme of an address.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS, which ends before the gateway.
    Https,
}

/// An answer that is always the same.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::respond_body())]
pub struct Respond {
    /// The status.
    #[serde(default = "defaults::respond_status")]
    #[schemars(default = "defaults::respond_status", range(min = 200, max = 599))]
    pub status: i32,
    /// The body. Not for the statuses 204, 205 and 304, which have none. Absent: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 8192))]
    pub body: String,
    /// What the body is.
    #[serde(default = "defaults::respond_content_type")]
    #[schemars(
        default = "defaults::respond_content_type",
        length(max = 128),
        regex(pattern = r#"^[a-z]+/[a-zA-Z0-9.+-]+(; ?[a-z]+=[a-zA-Z0-9._-]+)*$"#)
    )]
    pub content_type: String,
}

/// Answers that are compressed, as `Accept-Encoding` of the request asks: with zstd, br or gzip, of
/// equals the first. What is compressed already stays as it is, and so do parts of an answer (ranges),
/// streams of events, and what `Cache-Control: no-transform` or a digest is sent with.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Compress {
    /// Answers that are known to have fewer bytes stay as they are.
    #[serde(default = "defaults::compress_min_bytes")]
    #[schemars(default = "defaults::compress_min_bytes", range(min = 0))]
    pub min_bytes: i64,
    /// The media types, for example text/html, or text/* for all of a kind. Absent: those of text,
    /// JSON, XML, JavaScript, WebAssembly, SVG, and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 128), regex(pattern = r"^[a-z]+/(\*|[a-z0-9][a-z0-9.+-]*)$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub types: Vec<String>,
}

/// Requests of which a line is logged, as the gateway's access log has it (chart value
/// `gateway.accessLog`). It decides for its routes whatever that says, and also of requests
/// that another entry answers.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LogSample {
    /// How many of a hundred requests, picked at random; 0 for none.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
}

/// When a middleware acts on a request, the first phase first; on the answer it is the other way
/// round. Its kind implies it.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum MiddlewarePhase {
    /// Where a request comes from.
    Identify,
    /// Who asks.
    Authenticate,
    /// Whether that one may.
    Authorize,
    /// How much.
    Limit,
    /// What is made of it.
    Transform,
    /// What is written down of it.
    Observe,
}

/// Who declares a middleware.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum MiddlewareSource {
    /// The namespace, for all its plugins (`spec.middleware` of the PluginSystem).
    System,
    /// The plugin's manifest (`spec.http.middleware`).
    Plugin,
    /// A plugin that the gateway asks: the one that `provider` names.
    Provider,
}

/// A middleware of a plugin. They are listed in the order in which requests meet them.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MiddlewareStatus {
    /// When it acts.
    pub phase: MiddlewarePhase,
    /// Who acts first within the phase. Higher is first.
    #[serde(default)]
    pub priority: i32,
    /// Its name.
    pub name: String,
    /// Who declares it.
    pub source: MiddlewareSource,
    /// The plugin that provides it; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What it does: the field that says so, or `plugin` where a plugin is asked.
    pub kind: String,
    /// The routes that it is for, as they are selected; absent: all of the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Whether requests meet it.
    pub state: MiddlewareState,
    /// Why some or all do not; absent when all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether requests meet a middleware.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiddlewareState {
    /// They do.
    Active,
    /// They would, but the plugin has none of the routes that it is for.
    Unused,
    /// They cannot. Routes that were served are served on with the middleware of before; others are
    /// answered with 503.
    Refused,
}

impl fmt::Display for RouteSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, method } = self;
        match method {
            Some(method) => write!(f, "{method} {path}"),
            None => f.write_str(path),
        }
    }
}
