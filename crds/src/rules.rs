//! CEL rules: what is wrong in an object by itself, whatever else is in the cluster.
//! A rule names the field, says what is allowed and shows a value that is.

use kube::core::Rule;

/// A pre-release and build metadata as Semantic Versioning 2.0.0 writes them.
const SUFFIX: &str = r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?";
const NUMBER: &str = r"(0|[1-9]\d*)";

fn rule(expression: impl Into<String>, message: &str) -> Rule {
    Rule::new(expression).message(message)
}

pub fn plugin_name() -> Rule {
    rule(
        "size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name becomes the name of a Service: it must start with a letter, hold only lower-case letters, digits and '-', and have at most 50 characters",
    )
}

pub fn dependency_is_not_self() -> Rule {
    rule(
        "!has(self.spec.dependencies) || !self.spec.dependencies.exists(d, d.name == self.metadata.name)",
        "spec.dependencies must not name the plugin itself",
    )
}

pub fn system_name() -> Rule {
    rule(
        "self.metadata.name == 'default'",
        "there is one PluginSystem in a namespace and its name is 'default'",
    )
}

pub fn health_path_needs_http_protocol() -> Rule {
    rule(
        "self.protocol == 'Http' || !has(self.health) || !has(self.health.path)",
        "health.path is for protocol: Http; a plugin with protocol: Grpc answers the health check of the contract",
    )
}

pub fn http_protocol_needs_routes() -> Rule {
    rule(
        "self.protocol == 'Grpc' || (has(self.http) && has(self.http.routes) && size(self.http.routes) > 0)",
        "protocol: Http needs at least one entry in http.routes: such an image cannot announce its routes itself",
    )
}

/// The version pattern is the one that <https://semver.org> suggests.
pub fn version_is_semver() -> Rule {
    rule(
        format!(r"self.matches(r'^{NUMBER}\.{NUMBER}\.{NUMBER}{SUFFIX}$')"),
        "version must follow Semantic Versioning, for example 1.2.0 or 2.0.0-rc.1",
    )
}

/// Comparators joined by commas, as the `semver` crate reads them.
pub fn range_is_semver() -> Rule {
    let part = format!(r"({NUMBER}|[*xX])");
    let comparator = format!(r"(=|>|>=|<|<=|~|\^)?\s*{NUMBER}(\.{part}(\.{part}{SUFFIX})?)?");
    rule(
        format!(r"self.matches(r'^\s*(\*|{comparator}(\s*,\s*{comparator})*)\s*$')"),
        "version must be a range of semantic versions, for example 1.2 (the same as ^1.2), ~1.2.3 or >=1.2, <3",
    )
}

pub fn image_is_reference() -> Rule {
    rule(
        r"self.matches(r'^[a-z0-9]+([._:/-]+[a-zA-Z0-9]+)*(@sha256:[a-f0-9]{64})?$')",
        "image must be a container image reference, for example registry.example/payments:1.2.0",
    )
}

pub fn path_is_json_pointer() -> Rule {
    rule(
        r"self.matches(r'^(/([^~/]|~0|~1)+)+$')",
        "path must be a JSON pointer into config (RFC 6901), for example /api_key or /database/password",
    )
}

pub fn exactly_one_source() -> Rule {
    rule(
        "has(self.secretKeyRef) != has(self.configMapKeyRef)",
        "exactly one of secretKeyRef and configMapKeyRef must be set",
    )
}

pub fn method_is_known() -> Rule {
    rule(
        "self in ['*', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']",
        "method must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, or '*' for all",
    )
}

pub fn path_is_pattern() -> Rule {
    rule(
        r"self.matches(r'^(/|(/([a-zA-Z0-9._~!$&+,;=@%-]+|:[a-zA-Z_][a-zA-Z0-9_]*))*(/|/\*[a-zA-Z_][a-zA-Z0-9_]*)?)$') && size(self) > 0",
        "path must start with '/' and consist of literal segments, ':name' for one segment and '*name' as the last for the rest, for example /api/payments/:id",
    )
}

pub fn host_is_name() -> Rule {
    rule(
        r"self == '' || self.matches(r'^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "host must be a host name in lower case without a port, for example api.example.com",
    )
}

pub fn quantity_is_positive() -> Rule {
    rule(
        "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
        "must be a quantity above zero, for example 256Mi of memory or 500m of cpu",
    )
}
