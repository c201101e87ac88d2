//! What an entry does, read from what was declared. The API server has checked most of it by the
//! same rules; what passes there and not here is refused with the reason.

use std::time::Duration;

use forward_config::SchemaError;
use forward_crds::{self as crds, Middleware, MiddlewarePhase};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    Ask, CircuitBreaker, Compress, Concurrency, Cors, Fallback, Headers, Redirect, Retry,
    callers::{ApiKey, Jwt, Permissions},
    jwks::JwksError,
    validate::Validate,
};
use crate::Cidr;

/// What a middleware does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// See [`crds::IpFilter`].
    IpFilter(IpFilter),
    /// See [`crds::Cors`].
    Cors(Cors),
    /// See [`crds::ApiKey`].
    ApiKey(ApiKey),
    /// See [`crds::Jwt`].
    Jwt(Jwt),
    /// See [`crds::Permissions`].
    Permissions(Permissions),
    /// See [`crds::RateLimit`].
    RateLimit(RateLimit),
    /// The most bytes that a request's body may have.
    BodyLimit(u64),
    /// See [`crds::Timeout`].
    Timeout(Timeout),
    /// See [`crds::CircuitBreaker`].
    CircuitBreaker(CircuitBreaker),
    /// See [`crds::Retry`].
    Retry(Retry),
    /// See [`crds::Concurrency`].
    Concurrency(Concurrency),
    /// See [`crds::Validate`].
    Validate(Validate),
    /// See [`crds::Headers`].
    Headers(Headers),
    /// See [`crds::Redirect`].
    Redirect(Redirect),
    /// See [`crds::Respond`].
    Respond(Respond),
    /// See [`crds::Fallback`].
    Fallback(Fallback),
    /// See [`crds::Compress`].
    Compress(Compress),
    /// Of how many in a hundred requests a line is logged.
    Log(u8),
    /// What to ask a plugin.
    Ask(Ask),
}

impl Step {
    /// How much it lets through, in words, where that is what it does.
    pub fn bound(&self) -> Option<String> {
        match self {
            Self::RateLimit(limit) => {
                Some(format!("{} per {:?}, {} at once", limit.requests, limit.per, limit.burst))
            }
            Self::BodyLimit(bytes) => Some(format!("{bytes} bytes")),
            Self::Concurrency(Concurrency::Max(most)) => Some(format!("{most} under way")),
            Self::Concurrency(Concurrency::Priority(priority)) => Some(format!("priority {priority:?}")),
            Self::Timeout(Timeout { answer, stall }) => {
                let answer = answer.map(|time| format!("{time:?} to the answer"));
                let stall = stall.map(|time| format!("{time:?} between its pieces"));
                Some(answer.into_iter().chain(stall).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }
    }
}

/// Why a middleware cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It does nothing, or several things.
    #[error("it must do exactly one thing, and does {0}")]
    Kinds(usize),
    /// Its routes cannot be read.
    #[error("{0}")]
    Route(String),
    /// It names what is no network.
    #[error(transparent)]
    Network(#[from] crate::ParseCidrError),
    /// It names what can be no header.
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    /// It gives a header a value that none can have.
    #[error("{0:?} cannot be the value of a header")]
    HeaderValue(String),
    /// It would change a header that is the gateway's.
    #[error("header {0} is the gateway's and cannot be changed")]
    OwnHeader(HeaderName),
    /// It would let any page act as its visitors.
    #[error("credentials are for origins and headers that are named, not for '*'")]
    OpenCredentials,
    /// It has keys of an issuer that cannot be used.
    #[error("jwks: {0}")]
    Jwks(#[from] JwksError),
    /// It would fetch keys that anybody on the way could change.
    #[error("jwksUrl {0:?} does not begin with https://")]
    KeysUrl(String),
    /// It requires what is no permission.
    #[error("{0:?} is not the name of a permission")]
    Permission(String),
    /// Its schema is none, or none that can be used here.
    #[error("validate.body.schema is no schema: {0}")]
    Schema(#[from] SchemaError),
    /// A number is out of its range.
    #[error("{field} cannot be {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// It would hold for some routes of a plugin that has the same pods for all.
    #[error("it is for all routes of the plugin: leave routes out")]
    AllRoutes,
    /// The longest time is not the longest.
    #[error("longestEjection is shorter than ejection")]
    LongestEjection,
    /// It would ask the plugin where the plugin cannot answer.
    #[error("a plugin cannot be its own fallback")]
    OwnFallback,
    /// Another field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A plugin provides it for the requests of another one, and may not.
    #[error("middlewareFrom of the PluginSystem does not name {0}: requests go past it")]
    NoLeave(String),
}

/// Which addresses may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct IpFilter {
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
}

/// How many requests may come in which time. Private, for the numbers are never zero.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    requests: u32,
    per: Duration,
    burst: u32,
    key: RateKey,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq)]
pub enum RateKey {
    /// Those from one address.
    Address,
    /// Those with the same value of this header.
    Header(HeaderName),
    /// All.
    Everyone,
}

/// How long the plugin may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeout {
    /// Until the head of the answer.
    pub answer: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub stall: Option<Duration>,
}

/// An answer that is always the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// What the body is; `None` where there can be none.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: String,
}

/// An entry's kind, its phase and what it does.
pub fn read(entry: &Middleware) -> (String, MiddlewarePhase, Result<Step, StepError>) {
    use MiddlewarePhase::{Authenticate, Authorize, Identify, Limit, Observe, Transform};
    let Middleware {
        name: _,
        priority: _,
        routes,
        ip_filter,
        cors,
        api_key,
        jwt,
        permissions,
        rate_limit,
        body_limit,
        timeout,
        circuit_breaker,
        retry,
        concurrency,
        validate,
        headers,
        redirect,
        respond,
        fallback,
        compress,
        log,
    } = entry;
    let kinds = [
        ip_filter.as_ref().map(|it| ("ipFilter", Identify, IpFilter::read(it).map(Step::IpFilter))),
        cors.as_ref().map(|it| ("cors", Identify, Cors::read(it).map(Step::Cors))),
        api_key.as_ref().map(|it| ("apiKey", Authenticate, ApiKey::read(it).map(Step::ApiKey))),
        jwt.as_ref().map(|it| ("jwt", Authenticate, Jwt::read(it).map(Step::Jwt))),
        permissions
            .as_ref()
            .map(|it| ("permissions", Authorize, Permissions::read(it).map(Step::Permissions))),
        rate_limit.as_ref().map(|it| ("rateLimit", Limit, RateLimit::read(it).map(Step::RateLimit))),
        body_limit.as_ref().map(|it| ("bodyLimit", Limit, body_limit_of(*it))),
        timeout.as_ref().map(|it| ("timeout", Limit, Timeout::read(*it).map(Step::Timeout))),
        circuit_breaker.as_ref().map(|it| {
            let read = CircuitBreaker::read(it, routes.len());
            ("circuitBreaker", Limit, read.map(Step::CircuitBreaker))
        }),
        retry.as_ref().map(|it| ("retry", Limit, Retry::read(it).map(Step::Retry))),
        concurrency.as_ref().map(|it| ("concurrency", Limit, Concurrency::read(it).map(Step::Concurrency))),
        validate.as_ref().map(|it| ("validate", Transform, Validate::read(it).map(Step::Validate))),
        headers.as_ref().map(|it| ("headers", Transform, Headers::read(it).map(Step::Headers))),
        redirect.as_ref().map(|it| ("redirect", Transform, Redirect::read(it).map(Step::Redirect))),
        respond.as_ref().map(|it| ("respond", Transform, Respond::read(it).map(Step::Respond))),
        fallback.as_ref().map(|it| ("fallback", Transform, Fallback::read(it).map(Step::Fallback))),
        compress.as_ref().map(|it| ("compress", Transform, Compress::read(it).map(Step::Compress))),
        log.as_ref().map(|it| ("log", Observe, percent("percent", it.percent).map(Step::Log))),
    ];
    let mut declared = kinds.into_iter().flatten().collect::<Vec<_>>();
    match (declared.pop(), declared.len()) {
        (Some((kind, phase, step)), 0) => (kind.to_owned(), phase, step),
        (last, others) => {
            let names = declared.iter().chain(&last).map(|(kind, ..)| *kind).collect::<Vec<_>>();
            let count = others + usize::from(last.is_some());
            (names.join(","), Identify, Err(StepError::Kinds(count)))
        }
    }
}

impl IpFilter {
    fn read(filter: &crds::IpFilter) -> Result<Self, StepError> {
        let networks = |list: &[String]| list.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
        let (allow, deny) = (networks(&filter.allow)?, networks(&filter.deny)?);
        // An empty list of those that may would let in everybody.
        if allow.is_empty() && deny.is_empty() {
            return Err(StepError::Missing("allow or deny"));
        }
        Ok(Self { allow, deny })
    }

    /// Whether an address may ask.
    pub fn admits(&self, address: std::net::IpAddr) -> bool {
        let is_in = |networks: &[Cidr]| networks.iter().any(|network| network.contains(address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

impl RateLimit {
    fn read(limit: &crds::RateLimit) -> Result<Self, StepError> {
        let crds::RateLimit { requests, per, burst, by, header } = limit;
        let requests = positive("requests", *requests)?;
        let burst = burst.map_or(Ok(requests), |burst| positive("burst", burst))?;
        if burst > requests {
            return Err(StepError::OutOfRange { field: "burst", value: burst.into() });
        }
        let key = match by {
            crds::RateKey::Address => RateKey::Address,
            crds::RateKey::Everyone => RateKey::Everyone,
            crds::RateKey::Header => {
                RateKey::Header(header_name(header.as_deref().ok_or(StepError::Missing("header"))?)?)
            }
        };
        Ok(Self { requests, per: per.get(), burst, key })
    }

    /// How many requests may come in each [`RateLimit::per`].
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// What the requests are counted in.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// How many may come at once; at most [`RateLimit::requests`].
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Whose requests are counted together.
    pub fn key(&self) -> &RateKey {
        &self.key
    }
}

impl Timeout {
    fn read(timeout: crds::Timeout) -> Result<Self, StepError> {
        let crds::Timeout { answer, stall } = timeout;
        if answer.is_none() && stall.is_none() {
            return Err(StepError::Missing("answer or stall"));
        }
        Ok(Self { answer: answer.map(crds::Duration::get), stall: stall.map(crds::Duration::get) })
    }
}

impl Respond {
    pub(super) fn read(respond: &crds::Respond) -> Result<Self, StepError> {
        let crds::Respond { status, body, content_type } = respond;
        let status = status_code(*status, 200..=599)?;
        let content_type = header_value(content_type)?;
        // What has no body must not say what it is.
        let none = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
        if none.contains(&status) && !body.is_empty() {
            return Err(StepError::OutOfRange { field: "status with a body", value: status.as_u16().into() });
        }
        let content_type = (!body.is_empty()).then_some(content_type);
        Ok(Self { status, content_type, body: body.clone() })
    }
}

fn body_limit_of(limit: crds::BodyLimit) -> Result<Step, StepError> {
    let value = limit.max_bytes;
    let bytes = u64::try_from(value).map_err(|_| StepError::OutOfRange { field: "maxBytes", value })?;
    Ok(Step::BodyLimit(bytes))
}

pub fn percent(field: &'static str, value: i32) -> Result<u8, StepError> {
    let out = StepError::OutOfRange { field, value: value.into() };
    u8::try_from(value).ok().filter(|percent| *percent <= 100).ok_or(out)
}

pub fn positive(field: &'static str, value: i64) -> Result<u32, StepError> {
    let out = StepError::OutOfRange { field, value };
    u32::try_from(value).ok().filter(|number| *number > 0).ok_or(out)
}

pub fn status_code(value: i32, range: std::ops::RangeInclusive<i32>) -> Result<StatusCode, StepError> {
    let code = u16::try_from(value).ok().filter(|_| range.contains(&value));
    let out = StepError::OutOfRange { field: "status", value: value.into() };
    code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(out)
}

pub fn header_name(text: &str) -> Result<HeaderName, StepError> {
    text.parse().map_err(|_| StepError::HeaderName(text.to_owned()))
}

pub fn header_value(text: &str) -> Result<HeaderValue, StepError> {
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let value = HeaderValue::from_str(text).ok().filter(|_| visible);
    value.ok_or_else(|| StepError::HeaderValue(text.to_owned()))
}
