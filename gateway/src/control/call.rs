//! Calls to one pod of a plugin, by the contract `goforward.plugin.v1`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use forward_crds::{
    FailureMode, MiddlewarePhase, MiddlewareScope, ProvidedBody, ProvidedMiddleware, Route, RouteSelector,
};
use forward_plan::{
    middleware::provided::{MAX_PROVIDED, check},
    read_announced,
    routes::{MAX_ANNOUNCED, Method, Pattern, is_host},
};
use forward_proto::plugin::v1::{
    self, DescribeRequest, DescribeResponse, HealthRequest, HealthResponse,
    health_response::Status,
    plugin_client::PluginClient,
    provided_middleware::{FailureMode as Failing, Phase, Scope},
};
use k8s_openapi::jiff::Timestamp;
use tonic::transport::{Channel, Endpoint};

use super::process::Process;

/// How long Describe may take.
const DESCRIBE: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// What is kept of a plugin's texts, in characters: they stand in its status.
const MAX_TEXT: usize = 1024;
/// How many details are kept.
const MAX_DETAILS: usize = 32;
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A pod that can be called.
#[derive(Clone, Debug)]
pub struct Callee {
    client: PluginClient<Channel>,
}

/// What a plugin says it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub routes: Vec<Route>,
    /// What it is to be asked about requests, by name.
    pub middleware: Vec<ProvidedMiddleware>,
    /// The schema of its configuration, as JSON, or why it is not used.
    pub config_schema: Result<Option<String>, String>,
}

/// What a plugin says about its health.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub healthy: bool,
    pub message: String,
    pub details: BTreeMap<String, String>,
    /// What it says of its process, which is not among the details.
    pub process: Option<Process>,
    /// When it was found out.
    pub timestamp: Timestamp,
    /// The newest configuration that it was given while it ran.
    pub reload: Option<Reloaded>,
    /// That a value of `configFrom` is another one than it started with: the time of the change before,
    /// which it was started after, empty where there was none.
    pub config_from_changed: Option<String>,
}

/// What a plugin says about a configuration that it was given while it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    pub config_hash: String,
    /// Why it was refused; nothing where it was not.
    pub error: Option<String>,
}

/// Why there is no description.
#[derive(Clone, Debug, PartialEq)]
pub enum DescribeError {
    /// The pod did not answer.
    Call(String),
    /// It announces a route that is none. It will not say anything else.
    Route(String),
    /// It announces middleware that is none.
    Middleware(String),
}

impl fmt::Display for DescribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(message) | Self::Route(message) | Self::Middleware(message) => f.write_str(message),
        }
    }
}

impl Callee {
    /// The pod at an address; it is connected to with the first call.
    pub fn new(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("an address is the authority of a URI")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(30));
        Self { client: PluginClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_ANSWER) }
    }

    /// Ask what the plugin is and offers.
    pub async fn describe(&mut self) -> Result<Description, DescribeError> {
        let call = self.client.describe(DescribeRequest {});
        let answer = bounded("Describe", DESCRIBE, call).await.map_err(DescribeError::Call)?;
        description(answer)
    }

    /// Ask how the plugin fares. `now` is what an answer without a time gets.
    pub async fn health(&mut self, timeout: Duration, now: Timestamp) -> Result<Said, String> {
        let answer = bounded("Health", timeout, self.client.health(HealthRequest {})).await?;
        said(answer, now)
    }
}

async fn bounded<T>(
    what: &str,
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(format!("{what} failed: {:?}: {}", status.code(), text(status.message()))),
        Err(_) => Err(format!("{what} was not answered within {timeout:?}")),
    }
}

fn description(answer: DescribeResponse) -> Result<Description, DescribeError> {
    let DescribeResponse { name, version, description: _, routes, config_schema, middleware } = answer;
    let routes = announced_routes(routes).map_err(DescribeError::Route)?;
    let middleware = announced_middleware(middleware).map_err(DescribeError::Middleware)?;
    let config_schema = schema(config_schema);
    Ok(Description { name: text(&name), version: text(&version), routes, middleware, config_schema })
}

fn announced_routes(routes: Vec<v1::Route>) -> Result<Vec<Route>, String> {
    if routes.len() > MAX_ANNOUNCED {
        return Err(format!("it announces {} routes, and {MAX_ANNOUNCED} is the most", routes.len()));
    }
    let routes = routes.into_iter().map(|route| {
        route.method.parse::<Method>().map_err(|error| error.to_string())?;
        route.path.parse::<Pattern>().map_err(|error| error.to_string())?;
        if !is_host(&route.host) {
            return Err(format!(
                "host {:?} is not a host name in lower case without a port",
                text(&route.host)
            ));
        }
        Ok(Route { host: route.host, method: route.method, path: route.path })
    });
    routes.collect()
}

fn announced_middleware(entries: Vec<v1::ProvidedMiddleware>) -> Result<Vec<ProvidedMiddleware>, String> {
    if entries.len() > MAX_PROVIDED {
        return Err(format!("it announces {} middleware, and {MAX_PROVIDED} is the most", entries.len()));
    }
    let mut by_name = BTreeMap::new();
    for entry in entries {
        let entry = provided(entry)?;
        check(&entry)?;
        if let Some(twice) = by_name.insert(entry.name.clone(), entry) {
            return Err(format!("middleware {} is announced twice", twice.name));
        }
    }
    Ok(by_name.into_values().collect())
}

fn provided(entry: v1::ProvidedMiddleware) -> Result<ProvidedMiddleware, String> {
    let unknown = |field: &str| format!("middleware {:?}: {field} is none that is known", text(&entry.name));
    let phase = match entry.phase() {
        Phase::Unspecified => return Err(unknown("phase")),
        Phase::Identify => MiddlewarePhase::Identify,
        Phase::Authenticate => MiddlewarePhase::Authenticate,
        Phase::Authorize => MiddlewarePhase::Authorize,
        Phase::Limit => MiddlewarePhase::Limit,
        Phase::Transform => MiddlewarePhase::Transform,
        Phase::Observe => MiddlewarePhase::Observe,
    };
    // What is new to this gateway must not be taken for the default.
    let scope = match Scope::try_from(entry.scope).map_err(|_| unknown("scope"))? {
        Scope::Unspecified | Scope::Own => MiddlewareScope::Own,
        Scope::Named => MiddlewareScope::Named,
        Scope::All => MiddlewareScope::All,
    };
    let failure_mode = match Failing::try_from(entry.failure_mode).map_err(|_| unknown("failure_mode"))? {
        Failing::Unspecified | Failing::Closed => FailureMode::Closed,
        Failing::Open => FailureMode::Open,
    };
    let deadline = entry.deadline.map(|deadline| {
        let millis = Duration::try_from(deadline).map_err(|_| unknown("deadline"))?.as_millis();
        format!("{millis}ms").parse().map_err(|_| unknown("deadline"))
    });
    Ok(ProvidedMiddleware {
        deadline: deadline.transpose()?,
        phase,
        priority: entry.priority,
        scope,
        failure_mode,
        response: entry.response,
        body: (entry.max_body_bytes > 0).then(|| ProvidedBody { max_bytes: entry.max_body_bytes.into() }),
        name: entry.name,
        plugins: entry.plugins,
        cache_by: entry.cache_by,
        routes: entry.routes.into_iter().map(selector).collect(),
    })
}

fn selector(v1::RouteSelector { path, method }: v1::RouteSelector) -> RouteSelector {
    RouteSelector { path, method: Some(method).filter(|method| !method.is_empty()) }
}

fn schema(announced: String) -> Result<Option<String>, String> {
    if announced.is_empty() {
        return Ok(None);
    }
    match read_announced(&announced) {
        Ok(_) => Ok(Some(announced)),
        Err(error) => Err(text(&error.to_string())),
    }
}

fn said(mut answer: HealthResponse, now: Timestamp) -> Result<Said, String> {
    let status = answer.status();
    if status == Status::Unspecified {
        return Err(format!("Health was answered with the unknown status {}", answer.status));
    }
    let timestamp = answer.timestamp.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let process = Process::take(&mut answer.details);
    let details = answer.details.iter().take(MAX_DETAILS);
    Ok(Said {
        healthy: status == Status::Healthy,
        message: text(&answer.message),
        details: details.map(|(key, value)| (text(key), text(value))).collect(),
        process,
        // A clock that goes ahead is not believed.
        timestamp: timestamp.map_or(now, |time| time.min(now)),
        reload: answer.reload.map(|reload| Reloaded {
            config_hash: text(&reload.config_hash),
            error: (!reload.error.is_empty()).then(|| text(&reload.error)),
        }),
        config_from_changed: answer.config_from_changed.map(|started_after| text(&started_after)),
    })
}

fn text(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use forward_proto::plugin::v1;

    use super::*;

    fn route(method: &str, host: &str, path: &str) -> v1::Route {
        v1::Route { method: method.into(), host: host.into(), path: path.into(), description: String::new() }
    }

    fn describe(routes: Vec<v1::Route>) -> Result<Description, String> {
        description(DescribeResponse { routes, ..DescribeResponse::default() })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn refuses_routes_that_a_manifest_could_not_have() {
        assert_eq!(describe(vec![route("GET", "a.b", "/x/:id")]).unwrap().routes.len(), 1);
        assert!(describe(vec![route("get", "", "/x")]).unwrap_err().contains("\"get\""));
        assert!(describe(vec![route("GET", "", "x")]).unwrap_err().contains("does not start with '/'"));
        assert!(describe(vec![route("GET", "A", "/x")]).unwrap_err().contains("host \"A\""));
        let many = (0..257).map(|n| route("GET", "", &format!("/{n}"))).collect();
        assert!(describe(many).unwrap_err().contains("257 routes"));
    }

    #[test]
    fn refuses_middleware_that_a_manifest_could_not_have() {
        let entry = v1::ProvidedMiddleware {
            name: "auth".into(),
            phase: Phase::Authenticate.into(),
            ..v1::ProvidedMiddleware::default()
        };
        let announce = |middleware: Vec<v1::ProvidedMiddleware>| {
            let answer = DescribeResponse { middleware, ..DescribeResponse::default() };
            description(answer).map(|it| it.middleware).map_err(|error| error.to_string())
        };
        let good = announce(vec![entry.clone()]).unwrap();
        assert_eq!((good[0].scope, good[0].failure_mode), (MiddlewareScope::Own, FailureMode::Closed));
        let long = prost_types::Duration { seconds: 11, nanos: 0 };
        let selected = |path: &str| v1::RouteSelector { path: path.into(), method: String::new() };
        for (bad, why) in [
            (v1::ProvidedMiddleware { name: "Auth".into(), ..entry.clone() }, "\"Auth\": the name"),
            (v1::ProvidedMiddleware { phase: 9, ..entry.clone() }, "phase is none"),
            (v1::ProvidedMiddleware { phase: 0, ..entry.clone() }, "phase is none"),
            (v1::ProvidedMiddleware { scope: 9, ..entry.clone() }, "scope is none"),
            (v1::ProvidedMiddleware { scope: Scope::Named.into(), ..entry.clone() }, "plugins is for"),
            (v1::ProvidedMiddleware { plugins: vec!["a".into()], ..entry.clone() }, "plugins is for"),
            (v1::ProvidedMiddleware { failure_mode: 9, ..entry.clone() }, "failure_mode is none"),
            (v1::ProvidedMiddleware { failure_mode: Failing::Open.into(), ..entry.clone() }, "is Closed"),
            (v1::ProvidedMiddleware { deadline: Some(long), ..entry.clone() }, "at most 10s"),
            (v1::ProvidedMiddleware { priority: 2_000_000, ..entry.clone() }, "priority must"),
            (v1::ProvidedMiddleware { routes: vec![selected("x")], ..entry.clone() }, "\"x\""),
            (v1::ProvidedMiddleware { routes: vec![selected("/x"); 17], ..entry.clone() }, "at most 16"),
            (v1::ProvidedMiddleware { cache_by: vec!["Host".into()], ..entry.clone() }, "cache_by is"),
            (v1::ProvidedMiddleware { cache_by: vec!["a".into()], phase: 4, ..entry.clone() }, "cache_by is"),
            (
                v1::ProvidedMiddleware { cache_by: vec!["a".into()], max_body_bytes: 1, ..entry.clone() },
                "cache_by is",
            ),
            (v1::ProvidedMiddleware { max_body_bytes: 1_048_577, ..entry.clone() }, "at most 1048576"),
        ] {
            let error = announce(vec![bad]).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert!(announce(vec![entry.clone(), entry.clone()]).unwrap_err().contains("twice"));
        let many = (0..17).map(|n| v1::ProvidedMiddleware { name: format!("m{n}"), ..entry.clone() });
        assert!(announce(many.collect()).unwrap_err().contains("17 middleware"));
    }

    #[test]
    fn takes_a_schema_or_says_why_not() {
        let announce = |text: &str| {
            let answer = DescribeResponse { config_schema: text.to_owned(), ..DescribeResponse::default() };
            description(answer).unwrap().config_schema
        };
        assert_eq!(announce(""), Ok(None));
        assert_eq!(announce(r#"{"type": "object"}"#), Ok(Some(r#"{"type": "object"}"#.to_owned())));
        assert_eq!(announce("{"), Err("it is not JSON".to_owned()));
        assert_eq!(
            announce(&" ".repeat(70_000)),
            Err("it has 70000 bytes, and 65536 is the most".to_owned())
        );
    }

    #[test]
    fn keeps_a_bounded_part_of_what_is_said() {
        let now = Timestamp::from_second(1_000).unwrap();
        let details = (0..40).map(|n| (format!("{n:02}"), "x".repeat(5_000))).collect();
        let later = prost_types::Timestamp { seconds: 2_000, nanos: 0 };
        let answer = HealthResponse {
            status: 2,
            message: "m".repeat(5_000),
            details,
            timestamp: Some(later),
            reload: None,
            config_from_changed: None,
        };
        let said = said(answer, now).unwrap();
        assert!(!said.healthy);
        assert_eq!((said.message.len(), said.details.len(), said.details["00"].len()), (1024, 32, 1024));
        assert_eq!(said.timestamp, now, "not from the future");
    }

    #[test]
    fn does_not_take_an_unknown_status_for_health() {
        let answer = HealthResponse { status: 7, ..HealthResponse::default() };
        assert!(said(answer, Timestamp::UNIX_EPOCH).unwrap_err().contains("unknown status 7"));
    }
}
