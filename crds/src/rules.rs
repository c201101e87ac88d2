//! CEL rules: what is wrong in an object by itself, whatever else is in the cluster.
//! A rule names the field, says what is allowed and shows a value that is.

use kube::core::Rule;

pub mod middleware;
pub mod provided;

/// The name of a plugin: it becomes the name of a Service.
const NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
/// A number in a version. Nineteen digits always fit into 64 bits, where versions are compared.
const NUMBER: &str = r"(0|[1-9]\d{0,18})";
/// A pre-release and build metadata as Semantic Versioning 2.0.0 writes them.
const SUFFIX: &str = r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?";
/// One label of a host name.
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/// A JSON pointer (RFC 6901) to something inside the document.
const POINTER: &str = "^(/([^~/]|~0|~1)+)+$";
/// A path of routes: segments, then nothing, a slash or the rest.
const PATH: &str = r"^(/|(/([a-zA-Z0-9._~!$&+,;=@%-]+|:[a-zA-Z_][a-zA-Z0-9_]*))+(/|/\*[a-zA-Z_][a-zA-Z0-9_]*)?|/\*[a-zA-Z_][a-zA-Z0-9_]*)$";

/// A duration that CEL can read: the type's own rule says what is wrong with others.
const DURATION: &str = "^([0-9]{1,6}(ms|s|m|h))+$";

fn rule(expression: impl Into<String>, message: &str) -> Rule {
    Rule::new(expression).message(message)
}

/// The expression that `field` matches a pattern, which must not hold a quote.
fn matches(field: &str, pattern: &str) -> String {
    format!("{field}.matches(r'{pattern}')")
}

/// The version pattern is the one that <https://semver.org> suggests.
fn version_pattern() -> String {
    format!(r"^{NUMBER}\.{NUMBER}\.{NUMBER}{SUFFIX}$")
}

/// Comparators joined by commas, as the `semver` crate reads them: at most 32, and nothing but a
/// wildcard after a wildcard.
fn range_pattern() -> String {
    let minor_and_patch = format!(r"(\.({NUMBER}(\.({NUMBER}{SUFFIX}|[*xX]))?|[*xX](\.[*xX])?))?");
    let comparator = format!("(=|>|>=|<|<=|~|\\^)? *{NUMBER}{minor_and_patch}");
    format!(r"^ *([*xX]|{comparator}( *, *{comparator}){{0,31}}) *$")
}

/// `[host[:port]/]path[:tag][@digest]`.
fn image_pattern() -> String {
    let host = "([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?/)?";
    let part = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
    let tag = "(:[a-zA-Z0-9_][a-zA-Z0-9._-]*)?(@sha256:[a-f0-9]{64})?";
    format!("^{host}{part}(/{part})*{tag}$")
}

/// A host with a dot, a port or the name `localhost`, as an image reference tells it from a path;
/// then parts of a path.
fn image_prefix_pattern() -> String {
    let label = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?";
    let part = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
    format!(r"^(localhost|{label}(\.{label})*:[0-9]+|{label}(\.{label})+)(/{part})*$")
}

fn host_pattern() -> String {
    format!(r"^({LABEL}\.)*{LABEL}$")
}

pub fn plugin_name() -> Rule {
    rule(
        format!("size(self.metadata.name) <= 50 && {}", matches("self.metadata.name", NAME)),
        "metadata.name becomes the name of a Service: it must start with a letter, hold only lower-case letters, digits and '-', and have at most 50 characters",
    )
}

pub fn dependency_name() -> Rule {
    rule(
        matches("self", NAME),
        "name must be the name of a plugin: lower-case letters, digits and '-', the first a letter",
    )
}

pub fn dependency_is_not_self() -> Rule {
    rule(
        "!has(self.spec.dependencies) || !self.spec.dependencies.exists(d, d.name == self.metadata.name)",
        "a plugin must not depend on itself",
    )
    .field_path(".spec.dependencies")
}

pub fn system_name() -> Rule {
    rule(
        "self.metadata.name == 'default'",
        "there is one PluginSystem in a namespace and its name is 'default'",
    )
}

pub fn duration_is_a_second() -> Rule {
    rule(
        format!("!self.matches('{DURATION}') || duration(self) >= duration('1s')"),
        "must be at least 1s: the gateway asks each pod so often",
    )
}

pub fn health_path_needs_http_protocol() -> Rule {
    rule(
        "self.protocol == 'Http' || !has(self.health) || !has(self.health.path)",
        "health.path is for protocol: Http; a plugin with protocol: Grpc answers the health check of the contract",
    )
    .field_path(".health.path")
}

pub fn http_protocol_needs_routes() -> Rule {
    rule(
        "self.protocol == 'Grpc' || (has(self.http) && has(self.http.routes) && size(self.http.routes) > 0)",
        "protocol: Http needs at least one entry in http.routes: such an image cannot announce its routes itself",
    )
    .field_path(".http.routes")
}

pub fn reload_in_place_needs_grpc_protocol() -> Rule {
    rule(
        "self.reload == 'Rolling' || self.protocol == 'Grpc'",
        "reload: InPlace needs protocol: Grpc; an image that does not know the contract cannot be told of a new configuration",
    )
    .field_path(".reload")
}

pub fn hooks_in_pods_need_grpc_protocol() -> Rule {
    rule(
        "self.protocol == 'Grpc' || !has(self.hooks) || !(has(self.hooks.afterLoad) || has(self.hooks.beforeInitialize) || has(self.hooks.afterInitialize) || has(self.hooks.beforeStart))",
        "hooks.afterLoad, beforeInitialize, afterInitialize and beforeStart need protocol: Grpc; an image that does not know the contract cannot be asked to wait",
    )
    .field_path(".hooks")
}

pub fn exactly_one_call() -> Rule {
    rule("has(self.job) != has(self.http)", "exactly one of job and http must be set")
}

pub fn job_says_what_to_run() -> Rule {
    rule(
        "has(self.image) || has(self.command) || has(self.args)",
        "job needs an image, a command or args: the plugin's own image runs until it is told to stop",
    )
}

pub fn service_is_name() -> Rule {
    rule(
        matches("self", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        "service must be the name of a Service in the plugin's namespace, without a domain, for example notifier",
    )
}

pub fn version_is_semver() -> Rule {
    rule(
        matches("self", &version_pattern()),
        "version must follow Semantic Versioning, for example 1.2.0 or 2.0.0-rc.1",
    )
}

pub fn range_is_semver() -> Rule {
    rule(
        matches("self", &range_pattern()),
        "version must be a range of semantic versions, for example 1.2 (the same as ^1.2), ~1.2.3 or >=1.2, <3",
    )
}

pub fn image_is_reference() -> Rule {
    rule(
        matches("self", &image_pattern()),
        "image must be a container image reference, for example registry.example/payments:1.2.0",
    )
}

pub fn exactly_one_receiver() -> Rule {
    rule("has(self.alertmanager) != has(self.webhook)", "exactly one of alertmanager and webhook must be set")
}

pub fn image_prefixes_have_host() -> Rule {
    rule(
        format!("self.all(prefix, {})", matches("prefix", &image_prefix_pattern())),
        "imagePrefixes must begin with a registry's host and hold whole parts of a path, without a tag or a slash at the end, for example registry.example/team or docker.io/library",
    )
}

pub fn path_is_json_pointer() -> Rule {
    rule(
        matches("self", POINTER),
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
        matches("self", PATH),
        "path must start with '/' and consist of literal segments, ':name' for one segment and '*name' as the last for the rest, for example /api/payments/:id",
    )
}

pub fn path_is_absolute() -> Rule {
    rule(matches("self", r"^/[!-~]*$"), "path must start with '/' and hold no spaces, for example /healthz")
}

pub fn host_is_name() -> Rule {
    rule(
        format!("self == '' || {}", matches("self", &host_pattern())),
        "host must be a host name in lower case without a port, for example api.example.com",
    )
}

pub fn hosts_are_names() -> Rule {
    rule(
        format!("self.all(host, {})", matches("host", &host_pattern())),
        "hosts must be host names in lower case without a port, for example api.example.com",
    )
}

pub fn quantity_is_positive() -> Rule {
    rule(
        "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
        "must be a quantity above zero, for example 256Mi of memory or 500m of cpu",
    )
}

pub fn tmp_size_needs_tmp() -> Rule {
    rule(
        "self.filesystem != 'None' || !has(self.tmpSize)",
        "tmpSize is the size of /tmp, which filesystem: None does not have",
    )
    .field_path(".tmpSize")
}

pub fn egress_needs_declared() -> Rule {
    rule(
        "!has(self.egress) || size(self.egress) == 0 || !has(self.mode) || self.mode == 'Declared'",
        "egress is for mode: Declared; None reaches nothing and All reaches everything",
    )
    .field_path(".egress")
}

pub fn exactly_one_peer() -> Rule {
    rule(
        "(has(self.plugin) ? 1 : 0) + (has(self.pods) && size(self.pods) > 0 ? 1 : 0) + (has(self.cidr) ? 1 : 0) == 1",
        "exactly one of plugin, pods and cidr must be set",
    )
}

pub fn except_needs_cidr() -> Rule {
    rule("!has(self.except) || has(self.cidr)", "except is for cidr: it names addresses of it")
        .field_path(".except")
}

/// What Kubernetes asks of an `except`: a smaller network within the other.
pub fn except_is_inside() -> Rule {
    rule(
        "!has(self.except) || !has(self.cidr) || !isCIDR(self.cidr) || self.except.all(one, !isCIDR(one) || (cidr(self.cidr).containsCIDR(one) && cidr(one).prefixLength() > cidr(self.cidr).prefixLength()))",
        "except must be smaller networks within cidr, for example 10.1.0.0/16 of 10.0.0.0/8",
    )
    .field_path(".except")
}

pub fn ports_are_not_for_plugins() -> Rule {
    rule(
        "!has(self.plugin) || !has(self.ports)",
        "ports are for pods and cidr; a plugin is reached on the port it listens on",
    )
    .field_path(".ports")
}

pub fn cidr_is_network() -> Rule {
    rule(
        "isCIDR(self) && cidr(self) == cidr(self).masked()",
        "cidr must be a network in CIDR notation, for example 10.0.0.0/8 or fd00::/8",
    )
}

pub fn cidrs_are_networks() -> Rule {
    rule(
        "self.all(one, isCIDR(one) && cidr(one) == cidr(one).masked())",
        "except must be networks in CIDR notation, for example 10.1.0.0/16",
    )
}

pub fn keys_are_not_ours() -> Rule {
    rule("self.all(key, !key.startsWith('goforward.dev/'))", "keys under goforward.dev/ are the operator's")
}

pub fn variables_are_not_ours() -> Rule {
    rule(
        "self.all(variable, !variable.name.startsWith('GOFORWARD_'))",
        "variables whose names start with GOFORWARD_ are the operator's",
    )
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use semver::{Version, VersionReq};

    use super::*;

    /// What the API server lets in must be readable where versions are compared, and the other
    /// way round.
    #[test]
    fn accepts_the_versions_that_can_be_compared() {
        let pattern = Regex::new(&version_pattern()).unwrap();
        for text in ["0.0.0", "1.2.3", "1.0.0-rc.1", "1.0.0-0a.-", "1.0.0+build.01", "1.0.0-a+b"] {
            assert!(pattern.is_match(text) && Version::parse(text).is_ok(), "{text:?}");
        }
        for text in ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", " 1.2.3"]
        {
            assert!(!pattern.is_match(text) && Version::parse(text).is_err(), "{text:?}");
        }
        assert!(!pattern.is_match("99999999999999999999.0.0"), "more than 64 bits");
    }

    #[test]
    fn accepts_the_ranges_that_can_be_compared() {
        let pattern = Regex::new(&range_pattern()).unwrap();
        let operators = ["", "=", ">", ">=", "<", "<=", "~", "^", "> ", "!", "=>"];
        let bodies = [
            "",
            "*",
            "x",
            "1",
            "1.2",
            "1.2.3",
            "1.*",
            "1.x",
            "1.X.x",
            "1.2.*",
            "1.*.3",
            "*.1",
            "1.2.3-rc.1",
            "1.2.*-rc",
            "1.2-rc",
            "1.2.3+b",
            "01",
            "1.02",
            "1.2.3.4",
            "a",
            "1.",
            ".1",
        ];
        for operator in operators {
            for body in bodies {
                for around in ["{}", " {} ", "{},{}", "{} , 2", "{},", ",{}", "{} {}", "{}\t"] {
                    let text = around.replace("{}", &format!("{operator}{body}"));
                    // The crate reads an operator before a lone wildcard; nobody means anything by it.
                    let odd = ["*", "x"].contains(&body) && !operator.is_empty();
                    let readable = VersionReq::parse(&text).is_ok() && !text.is_empty() && !odd;
                    assert_eq!(pattern.is_match(&text), readable, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn tells_image_references_from_other_texts() {
        let pattern = Regex::new(&image_pattern()).unwrap();
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for text in
            ["nginx", "a/b:1.0", "host:5000/a/b-c__d.e:V1_x", "Host.example/a", "localhost/a", &digest]
        {
            assert!(pattern.is_match(text), "{text:?}");
        }
        for text in ["", "A", "a//b", "a:", "a:b:c", "a b", "https://a/b", "a@sha256:12", "-a", "a/", "a:.b"]
        {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn tells_image_prefixes_from_other_texts() {
        let pattern = Regex::new(&image_prefix_pattern()).unwrap();
        for text in ["docker.io", "localhost", "localhost:5000/a", "host:5000", "a.b-c.example:1/team/x_y"] {
            assert!(pattern.is_match(text), "{text:?}");
        }
        for text in [
            "",
            "team",
            "team/cart",
            "a.b/",
            "a.b//c",
            "a.b/c:1",
            "a.b/c@sha256:0",
            "https://a.b",
            "a.b/*",
            ".b",
        ] {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn tells_paths_from_other_texts() {
        let pattern = Regex::new(PATH).unwrap();
        for text in ["/", "/a", "/a/", "/:id", "/a/:id/b", "/*rest", "/a/*rest", "/%41.~!$&+,;=@-"] {
            assert!(pattern.is_match(text), "{text:?}");
        }
        for text in ["", "a", "//", "/a//b", "/:", "/:1", "/*", "/*rest/a", "/a?b", "/a#b", "/a b", "/a*"] {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }
}
