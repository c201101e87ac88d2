//! Rules of middleware.

use kube::core::Rule;

use super::{DURATION, LABEL, NAME, matches, rule};

/// The fields of which a middleware has one.
const KINDS: [&str; 18] = [
    "ipFilter",
    "cors",
    "apiKey",
    "jwt",
    "permissions",
    "rateLimit",
    "bodyLimit",
    "timeout",
    "circuitBreaker",
    "retry",
    "concurrency",
    "validate",
    "headers",
    "redirect",
    "respond",
    "fallback",
    "compress",
    "log",
];

/// Headers by which messages are framed and carried, and those that say who asked: an entry that
/// could change them could make two servers see two different requests, or one client another.
const OURS: &str = "(?i)^(connection|content-length|expect|forwarded|host|http2-settings|keep-alive|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer|transfer-encoding|upgrade|x[-_]forward(ed)?[-_].*|x-real-ip|x-request-id)$";

/// An origin as browsers write it, without the port that the scheme implies anyway, or every one.
fn origin_pattern() -> String {
    format!(r"^(\*|https?://({LABEL}\.)*{LABEL}(:[0-9]{{1,5}})?)$")
}

pub fn name() -> Rule {
    rule(
        matches("self", NAME),
        "name must hold only lower-case letters, digits and '-', the first a letter, for example per-client",
    )
}

pub fn origins() -> Rule {
    rule(
        format!("self.all(one, {})", matches("one", &origin_pattern())),
        "origins must be '*' or, in lower case and without a path, as browsers write them, for example https://shop.example.com",
    )
}

pub fn exactly_one_kind() -> Rule {
    let counted = KINDS.map(|kind| format!("(has(self.{kind}) ? 1 : 0)"));
    rule(
        format!("{} == 1", counted.join(" + ")),
        "exactly one of ipFilter, cors, apiKey, jwt, permissions, rateLimit, bodyLimit, timeout, circuitBreaker, retry, concurrency, validate, headers, redirect, respond, fallback, compress and log must be set: an entry does one thing",
    )
}

pub fn ip_filter_filters() -> Rule {
    rule(
        "(has(self.allow) && size(self.allow) > 0) || (has(self.deny) && size(self.deny) > 0)",
        "ipFilter needs networks in allow or in deny",
    )
}

pub fn networks() -> Rule {
    rule(
        "self.all(one, isCIDR(one) && cidr(one) == cidr(one).masked())",
        "must be networks in CIDR notation, for example 10.0.0.0/8, fd00::/8 or 192.0.2.1/32 for one address",
    )
}

pub fn no_credentials_for_everybody() -> Rule {
    rule(
        "!has(self.credentials) || !self.credentials || (!self.origins.exists(one, one == '*') && (!has(self.headers) || !self.headers.exists(one, one == '*')) && (!has(self.exposeHeaders) || !self.exposeHeaders.exists(one, one == '*')))",
        "credentials are for origins and headers that are named: with '*' any page could act as its visitors",
    )
    .field_path(".credentials")
}

pub fn burst_is_within() -> Rule {
    rule("!has(self.burst) || self.burst <= self.requests", "burst must be at most requests")
        .field_path(".burst")
}

pub fn header_needs_by_header() -> Rule {
    rule(
        "(has(self.by) && self.by == 'Header') == has(self.header)",
        "header is for by: Header, which needs it",
    )
    .field_path(".header")
}

pub fn at_most_a_day() -> Rule {
    rule(format!("!self.matches('{DURATION}') || duration(self) <= duration('24h')"), "must be at most 24h")
}

pub fn at_most_five_minutes() -> Rule {
    rule(
        format!("!self.matches('{DURATION}') || duration(self) <= duration('5m')"),
        "clockSkew must be at most 5m",
    )
}

pub fn jwt_has_one_source_of_keys() -> Rule {
    rule(
        "has(self.jwks) != has(self.jwksUrl)",
        "jwt needs the issuer's keys from one place: jwksUrl, where they are fetched, or jwks, which are they",
    )
}

pub fn timeout_times() -> Rule {
    rule("has(self.answer) || has(self.stall)", "timeout needs answer, stall or both")
}

pub fn headers_change() -> Rule {
    rule("has(self.request) || has(self.response)", "headers needs request, response or both")
}

pub fn header_name_is_not_ours() -> Rule {
    rule(
        format!("!self.matches('{OURS}')"),
        "this header frames or carries messages, or says who asked: it is the gateway's",
    )
}

pub fn header_names_are_not_ours() -> Rule {
    rule(
        format!("self.all(name, !name.matches('{OURS}'))"),
        "one of these headers frames or carries messages, or says who asked: those are the gateway's",
    )
}

pub fn redirect_leads_somewhere() -> Rule {
    rule(
        "has(self.scheme) || has(self.host) || has(self.path)",
        "redirect needs scheme, host or path, else it leads to where the client is",
    )
}

pub fn redirect_status() -> Rule {
    rule(
        "self in [301, 302, 303, 307, 308]",
        "status of a redirect must be one of 301, 302, 303, 307 and 308",
    )
}

pub fn respond_body() -> Rule {
    rule(
        "!(has(self.body) && size(self.body) > 0 && self.status in [204, 205, 304])",
        "an answer with the status 204, 205 or 304 has no body",
    )
    .field_path(".body")
}

pub fn circuit_breaker_is_for_all_routes() -> Rule {
    rule(
        "!has(self.circuitBreaker) || !has(self.routes) || size(self.routes) == 0",
        "circuitBreaker is for all routes of the plugin, as its pods are: leave routes out",
    )
    .field_path(".routes")
}

pub fn longest_ejection_is_longest() -> Rule {
    let is_duration = |field: &str| format!("self.{field}.matches('{DURATION}')");
    rule(
        format!(
            "!({} && {}) || duration(self.ejection) <= duration(self.longestEjection)",
            is_duration("ejection"),
            is_duration("longestEjection"),
        ),
        "longestEjection must be at least ejection",
    )
    .field_path(".longestEjection")
}

pub fn retry_has_a_cause() -> Rule {
    rule(
        "(has(self.causes) && size(self.causes) > 0) || (has(self.statuses) && size(self.statuses) > 0) || has(self.hedgeAfter)",
        "retry needs something in causes or in statuses, or hedgeAfter",
    )
}

pub fn max_or_priority() -> Rule {
    rule("has(self.max) != has(self.priority)", "concurrency needs max or priority, and not both")
}

pub fn one_fallback() -> Rule {
    rule("has(self.respond) != has(self.plugin)", "fallback needs respond or plugin, and not both")
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn tells_origins_from_other_texts() {
        let pattern = Regex::new(&origin_pattern()).unwrap();
        for text in ["*", "https://shop.example.com", "http://localhost:3000", "https://10.0.0.1"] {
            assert!(pattern.is_match(text), "{text:?}");
        }
        for text in
            ["", "null", "shop.example", "https://*.example", "https://a/", "https://A", "file://a", "*x"]
        {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn knows_the_headers_that_are_not_to_be_changed() {
        let pattern = Regex::new(OURS).unwrap();
        for text in [
            "Host",
            "HOST",
            "content-length",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "X-Forward-Subject",
            "x_forward_subject",
            "Te",
        ] {
            assert!(pattern.is_match(text), "{text:?}");
        }
        for text in ["X-Host", "Hosts", "Content-Type", "X-Tenant", "Forwarded-X", "X-Forwarding"] {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }
}
