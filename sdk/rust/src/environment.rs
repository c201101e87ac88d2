//! What the operator says to a plugin's process: the `GOFORWARD_` variables.

use std::{collections::BTreeMap, ffi::OsString, net, path::PathBuf, time::Duration};

use crate::{About, duration};

/// What every variable's name starts with.
const PREFIX: &str = "GOFORWARD_";
/// What the name of a dependency's variable starts with, after [`PREFIX`].
const DEPENDENCY: &str = "DEPENDENCY_";

/// The process's environment. Without any variable, as outside Kubernetes, it is that of a plugin
/// on port 8080 with an empty configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: String,
    pub namespace: String,
    /// The version that the manifest gives; the program's own where there is no manifest.
    pub version: String,
    /// 0 takes any free port.
    pub port: u16,
    pub config_dir: PathBuf,
    /// Whether new configurations are taken while the plugin runs.
    pub reload_in_place: bool,
    /// When values of the configuration that stand in Secrets and ConfigMaps were last seen to have
    /// changed before this process was started, as text; empty where they never were.
    pub config_from: String,
    /// The file that says how far the process may go; absent where it need not ask.
    pub stage_file: Option<PathBuf>,
    /// How long each of initialize, start, reload and stop may take.
    pub timeout: Duration,
    /// How long the plugin goes on serving after SIGTERM.
    pub drain: Duration,
    /// From a dependency's name, in the spelling of its variable, to its base URL.
    pub dependencies: BTreeMap<String, String>,
}

/// A variable that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{PREFIX}{0} is not UTF-8")]
    NotUtf8(String),
    #[error("{PREFIX}PORT is \"{0}\", not a port number")]
    Port(String),
    #[error("{PREFIX}{name} is \"{text}\", {source}")]
    Duration { name: &'static str, text: String, source: duration::ParseDurationError },
    #[error("{PREFIX}TIMEOUT is zero")]
    ZeroTimeout,
    #[error("{PREFIX}{DEPENDENCY}{name} is \"{url}\", not the base URL of an HTTP server")]
    Dependency { name: String, url: String },
}

impl Environment {
    pub fn resolve(
        about: &About,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvironmentError> {
        let mut given = given(variables)?;
        let dependencies = dependencies(&mut given)?;
        let stage_file = given.remove("STAGE_FILE").map(PathBuf::from);
        let mut text = |name: &str, default: &str| given.remove(name).unwrap_or_else(|| default.to_owned());
        let port = text("PORT", "8080");
        let environment = Self {
            name: text("PLUGIN_NAME", about.name),
            namespace: text("PLUGIN_NAMESPACE", "default"),
            version: text("PLUGIN_VERSION", about.version),
            port: port.parse().map_err(|_: <u16 as std::str::FromStr>::Err| EnvironmentError::Port(port))?,
            config_dir: text("CONFIG_DIR", "/etc/goforward").into(),
            reload_in_place: text("RELOAD", "Rolling") == "InPlace",
            config_from: text("CONFIG_FROM", ""),
            stage_file,
            timeout: span("TIMEOUT", text("TIMEOUT", "30s"))?,
            drain: span("DRAIN", text("DRAIN", "5s"))?,
            dependencies,
        };
        if environment.timeout.is_zero() {
            return Err(EnvironmentError::ZeroTimeout);
        }
        Ok(environment)
    }

    /// The plugin as every log line names it.
    pub fn plugin(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Where to listen: every address of the pod, over IPv4 and IPv6 where there is IPv6.
    pub fn listen(&self) -> [net::SocketAddr; 2] {
        [(net::Ipv6Addr::UNSPECIFIED, self.port).into(), (net::Ipv4Addr::UNSPECIFIED, self.port).into()]
    }
}

/// A dependency's name in the spelling of its variable.
pub fn dependency_key(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn given(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut given = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let value = value.into_string().map_err(|_| EnvironmentError::NotUtf8(name.to_owned()))?;
        given.insert(name.to_owned(), value);
    }
    Ok(given)
}

fn dependencies(given: &mut BTreeMap<String, String>) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut dependencies = BTreeMap::new();
    for (name, url) in given.iter() {
        let Some(name) = name.strip_prefix(DEPENDENCY) else { continue };
        let is_http = url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http"));
        if !is_http {
            return Err(EnvironmentError::Dependency { name: name.to_owned(), url: url.clone() });
        }
        dependencies.insert(name.to_owned(), url.trim_end_matches('/').to_owned());
    }
    Ok(dependencies)
}

fn span(name: &'static str, text: String) -> Result<Duration, EnvironmentError> {
    duration::parse(&text).map_err(|source| EnvironmentError::Duration { name, text, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About { name: "payments", version: "1.2.0", description: "Takes money." };

    fn resolve(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Environment::resolve(&ABOUT, variables)
    }

    #[test]
    fn without_variables_it_is_a_plugin_on_port_8080() {
        let environment = resolve(&[("PATH", "/bin")]).unwrap();
        assert_eq!(environment.plugin(), "default/payments");
        assert_eq!((environment.version.as_str(), environment.port), ("1.2.0", 8080));
        assert_eq!(environment.config_dir, PathBuf::from("/etc/goforward"));
        assert_eq!((environment.timeout.as_secs(), environment.drain.as_secs()), (30, 5));
    }

    #[test]
    fn variables_win_over_defaults() {
        let environment = resolve(&[
            ("GOFORWARD_PLUGIN_NAME", "pay"),
            ("GOFORWARD_PLUGIN_NAMESPACE", "shop"),
            ("GOFORWARD_PLUGIN_VERSION", "1.3.0"),
            ("GOFORWARD_PORT", "9000"),
            ("GOFORWARD_TIMEOUT", "1m30s"),
            ("GOFORWARD_DRAIN", "0s"),
            ("GOFORWARD_DEPENDENCY_INVENTORY_MANAGER", "http://inventory-manager.shop.svc/"),
        ])
        .unwrap();
        assert_eq!(environment.plugin(), "shop/pay");
        assert_eq!((environment.version.as_str(), environment.port), ("1.3.0", 9000));
        assert_eq!((environment.timeout.as_secs(), environment.drain.as_secs()), (90, 0));
        assert_eq!(
            environment.dependencies[&dependency_key("inventory-manager")],
            "http://inventory-manager.shop.svc"
        );
    }

    #[test]
    fn errors_name_the_variable() {
        for (name, value, message) in [
            ("GOFORWARD_PORT", "http", r#"GOFORWARD_PORT is "http", not a port number"#),
            ("GOFORWARD_TIMEOUT", "0s", "GOFORWARD_TIMEOUT is zero"),
            ("GOFORWARD_DRAIN", "5", r#"GOFORWARD_DRAIN is "5", not a duration such as 500ms, 10s or 1m30s"#),
            (
                "GOFORWARD_DEPENDENCY_A",
                "a:80",
                r#"GOFORWARD_DEPENDENCY_A is "a:80", not the base URL of an HTTP server"#,
            ),
        ] {
            assert_eq!(resolve(&[(name, value)]).unwrap_err().to_string(), message);
        }
    }
}
