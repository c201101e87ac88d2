//! The routes that a plugin offers: what it announces to the gateway, and the handlers behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{
    Router,
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, any, get, on},
};
use forward_proto::plugin::v1::Route;

use crate::{
    metrics::{self, Metrics},
    panics::Panic,
    pattern::{self, PatternError, shape},
};

/// The routes that a plugin offers. A handler is one of axum's, whose state is the plugin:
///
/// ```no_run
/// # use std::sync::Arc;
/// # use forward_sdk::{Context, Error, NoConfig, Plugin, Routes};
/// use forward_sdk::axum::extract::{Path, State};
///
/// # struct Shop;
/// # impl Plugin for Shop {
/// #     type Config = NoConfig;
/// #     async fn initialize(_: NoConfig, _: &Context) -> Result<Self, Error> { Ok(Self) }
/// fn routes(&self) -> Routes<Self> {
///     Routes::new().get("/orders/:id", order).describe("One order.").delete("/orders/:id", cancel)
/// }
/// # }
///
/// async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<u64>) -> String {
///     format!("order {id}")
/// }
/// # async fn cancel() {}
/// ```
///
/// GET routes answer HEAD too. Patterns consist of literal segments, `:name` for one segment and
/// `*name` at the end for the rest of the path. What is wrong with a route ends the plugin before
/// it starts, with a message that names the route.
#[must_use]
pub struct Routes<P> {
    entries: Vec<Entry<P>>,
    fallback: Option<Fallback<P>>,
}

/// Adds a handler for what no route answers, which axum asks for in two places.
type Fallback<P> = Box<dyn Fn(Router<Arc<P>>) -> Router<Arc<P>>>;

struct Entry<P> {
    route: Route,
    handler: MethodRouter<Arc<P>>,
    announced: bool,
}

/// Routes that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    #[error("{route}: {wrong}")]
    Path { route: String, wrong: PatternError },
    #[error("{0} is there twice")]
    Twice(String),
    #[error("the routes do not go together")]
    Clash(#[source] Panic),
}

/// Routes that are served.
#[derive(Clone)]
pub struct Served {
    pub announced: Vec<Route>,
    by_host: BTreeMap<String, Router>,
}

/// What two routes must not share: the host, the method and the path without its parameters' names.
type Claim = (String, String, String);

impl<P> Default for Routes<P> {
    fn default() -> Self {
        Self { entries: Vec::new(), fallback: None }
    }
}

impl<P: Send + Sync + 'static> Routes<P> {
    /// No routes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET and HEAD.
    pub fn get<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("GET", path, on(MethodFilter::GET, handler))
    }

    /// Answers POST.
    pub fn post<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("POST", path, on(MethodFilter::POST, handler))
    }

    /// Answers PUT.
    pub fn put<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("PUT", path, on(MethodFilter::PUT, handler))
    }

    /// Answers PATCH.
    pub fn patch<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("PATCH", path, on(MethodFilter::PATCH, handler))
    }

    /// Answers DELETE.
    pub fn delete<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("DELETE", path, on(MethodFilter::DELETE, handler))
    }

    /// Answers every method that no other route of the same path answers.
    pub fn any<T: 'static>(self, path: &str, handler: impl Handler<T, Arc<P>>) -> Self {
        self.with("*", path, any(handler))
    }

    /// Answers whatever no route answers. It is not announced: it is for routes that stand in the
    /// manifest.
    pub fn fallback<T: 'static>(self, handler: impl Handler<T, Arc<P>>) -> Self {
        let add = move |router: Router<Arc<P>>| {
            router.fallback(handler.clone()).method_not_allowed_fallback(handler.clone())
        };
        Self { fallback: Some(Box::new(add)), ..self }
    }

    /// Says in one sentence for people what the route before does.
    pub fn describe(mut self, description: &str) -> Self {
        if let Some(Entry { route, .. }) = self.entries.last_mut() {
            route.description = description.to_owned();
        }
        self
    }

    /// Restricts the route before to a host, for example `api.example.com`.
    pub fn host(mut self, host: &str) -> Self {
        if let Some(Entry { route, .. }) = self.entries.last_mut() {
            route.host = host.to_owned();
        }
        self
    }

    /// Does not announce the route before to the gateway: only those who ask the plugin directly,
    /// as its dependents do, reach it.
    pub fn internal(mut self) -> Self {
        if let Some(Entry { announced, .. }) = self.entries.last_mut() {
            *announced = false;
        }
        self
    }

    fn with(mut self, method: &str, path: &str, handler: MethodRouter<Arc<P>>) -> Self {
        let route = Route { method: method.to_owned(), path: path.to_owned(), ..Route::default() };
        self.entries.push(Entry { route, handler, announced: true });
        self
    }

    /// Checks the routes and makes them ready to answer.
    pub(crate) fn serve(self, plugin: &Arc<P>, metrics: &Metrics) -> Result<Served, RoutesError> {
        let mut claims = BTreeSet::new();
        for Entry { route, .. } in &self.entries {
            if !claims.insert(claim(route)?) {
                return Err(RoutesError::Twice(name(route)));
            }
        }
        let announced = self.entries.iter().filter(|entry| entry.announced);
        let hosts: BTreeSet<&str> = self.entries.iter().map(|entry| entry.route.host.as_str()).collect();
        let by_host = hosts.into_iter().chain([""]).map(|host| {
            // What is wrong between routes (`/a/:id` and `/a/:name`) axum tells by panicking.
            let router = catch_unwind(AssertUnwindSafe(|| self.router(host, &claims)));
            let router = router.map_err(|payload| RoutesError::Clash(Panic::new(payload)))?;
            Ok((host.to_owned(), measured(router.with_state(plugin.clone()), metrics, &claims)))
        });
        Ok(Served {
            by_host: by_host.collect::<Result<_, _>>()?,
            announced: announced.map(|entry| entry.route.clone()).collect(),
        })
    }

    /// The routes for requests to a host: its own, and those of every host that it does not replace.
    fn router(&self, host: &str, claims: &BTreeSet<Claim>) -> Router<Arc<P>> {
        let mut router = Router::new();
        for Entry { route, handler, .. } in &self.entries {
            let replaced = route.host.is_empty()
                && !host.is_empty()
                && claims.contains(&(host.to_owned(), route.method.clone(), shape(&route.path)));
            if (route.host == host || route.host.is_empty()) && !replaced {
                router = router.route(&pattern::to_axum(&route.path), handler.clone());
            }
        }
        match &self.fallback {
            Some(add) => add(router),
            None => router,
        }
    }
}

impl Served {
    /// The routes for requests that carry this `Host`.
    pub fn router(&self, host: &str) -> Router {
        let host = host.rsplit_once(':').map_or(host, |(host, _port)| host).to_ascii_lowercase();
        let router = self.by_host.get(&host).or_else(|| self.by_host.get(""));
        router.cloned().unwrap_or_default()
    }
}

/// The routes with their requests counted and timed, and with a place where that is read, unless
/// the plugin has something of its own there.
fn measured(router: Router, metrics: &Metrics, claims: &BTreeSet<Claim>) -> Router {
    let router = router.route_layer(from_fn_with_state(metrics.clone(), metrics::measure));
    if claims.iter().any(|(_, _, path)| path == metrics::PATH) {
        return router;
    }
    router.route(metrics::PATH, get(metrics::show).with_state(metrics.clone()))
}

/// Checks a route by itself and says what it claims.
fn claim(route: &Route) -> Result<Claim, RoutesError> {
    pattern::check(&route.path).map_err(|wrong| RoutesError::Path { route: name(route), wrong })?;
    Ok((route.host.clone(), route.method.clone(), shape(&route.path)))
}

fn name(route: &Route) -> String {
    format!("{} {}{}", route.method, route.host, route.path)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Path};
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(served: &Served, method: &str, host: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = served.router(host).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn served(routes: Routes<()>) -> Result<Served, String> {
        routes.serve(&Arc::new(()), &Metrics::new()).map_err(|error| crate::failure::chain(&error))
    }

    async fn path(path: Path<String>) -> String {
        path.0
    }

    #[tokio::test]
    async fn patterns_are_those_of_the_manifest() {
        let routes = Routes::new()
            .get("/orders/:id", path)
            .get("/orders/new", async || "literal")
            .get("/files/*rest", path)
            .any("/orders/:id", async || "any");
        let served = served(routes).unwrap();
        let ok = |text: &str| (StatusCode::OK, text.to_owned());
        assert_eq!(ask(&served, "GET", "", "/orders/7").await, ok("7"));
        assert_eq!(ask(&served, "HEAD", "", "/orders/7").await, ok(""));
        assert_eq!(ask(&served, "GET", "", "/orders/new").await, ok("literal"));
        assert_eq!(ask(&served, "GET", "", "/files/a/b").await, ok("a/b"));
        assert_eq!(ask(&served, "DELETE", "", "/orders/7").await, ok("any"));
        assert_eq!(ask(&served, "GET", "", "/nothing").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(&served, "POST", "", "/orders/new").await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_hosts_own_routes_replace_those_of_every_host() {
        let routes = Routes::new()
            .get("/", async || "every host")
            .get("/", async || "api")
            .host("api.example.com")
            .get("/about", async || "about");
        let served = served(routes).unwrap();
        assert_eq!(ask(&served, "GET", "example.com", "/").await.1, "every host");
        assert_eq!(ask(&served, "GET", "API.example.com:8080", "/").await.1, "api");
        assert_eq!(ask(&served, "GET", "api.example.com", "/about").await.1, "about");
    }

    #[tokio::test]
    async fn the_fallback_answers_what_no_route_answers() {
        let routes = Routes::new().get("/a", async || "a").fallback(async || "fallback");
        let served = served(routes).unwrap();
        assert_eq!(ask(&served, "POST", "", "/b").await.1, "fallback");
        assert_eq!(ask(&served, "POST", "", "/a").await.1, "fallback");
        assert_eq!(served.announced.len(), 1);
    }

    #[tokio::test]
    async fn internal_routes_answer_and_are_not_announced() {
        let served =
            served(Routes::new().get("/in", async || "in").internal().get("/out", async || "")).unwrap();
        assert_eq!(ask(&served, "GET", "", "/in").await.1, "in");
        let announced: Vec<_> = served.announced.iter().map(|route| route.path.as_str()).collect();
        assert_eq!(announced, ["/out"]);
    }

    #[tokio::test]
    async fn requests_are_counted_by_the_route_that_answers_them() {
        let served = served(Routes::new().get("/orders/:id", path).any("/any", async || "")).unwrap();
        for (method, path) in
            [("GET", "/orders/7"), ("GET", "/orders/8"), ("BREW", "/any"), ("GET", "/nothing")]
        {
            ask(&served, method, "", path).await;
        }
        let (status, text) = ask(&served, "GET", "", "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        let counted: Vec<_> =
            text.lines().filter(|line| line.starts_with("plugin_http_requests_total")).collect();
        let orders = r#"plugin_http_requests_total{method="GET",route="/orders/:id",status="200"} 2"#;
        let any = r#"plugin_http_requests_total{method="other",route="/any",status="200"} 1"#;
        assert!(counted.len() == 2 && counted.contains(&orders) && counted.contains(&any), "{text}");
    }

    #[tokio::test]
    async fn a_plugin_may_have_metrics_of_its_own() {
        let served = served(Routes::new().get("/metrics", async || "its own")).unwrap();
        assert_eq!(ask(&served, "GET", "", "/metrics").await.1, "its own");
    }

    #[test]
    fn announces_what_was_said_of_each_route() {
        let routes = Routes::new().get("/a/:b", async || "").describe("A.").host("h").post("/c", async || "");
        let announced = served(routes).unwrap().announced;
        let expected = Route {
            method: "GET".to_owned(),
            path: "/a/:b".to_owned(),
            host: "h".to_owned(),
            description: "A.".to_owned(),
        };
        assert_eq!(announced[0], expected);
        assert_eq!((announced[1].method.as_str(), announced[1].host.as_str()), ("POST", ""));
    }

    #[test]
    fn what_is_wrong_names_the_route() {
        let error = |routes: Routes<()>| served(routes).err().unwrap();
        let handler = async || "";
        assert_eq!(error(Routes::new().get("a", handler)), "GET a: the path must start with '/'");
        assert_eq!(
            error(Routes::new().get("/:/b", handler)),
            "GET /:/b: the path has a parameter without a name"
        );
        assert_eq!(
            error(Routes::new().get("/*a/b", handler)),
            "GET /*a/b: '*' can stand only in front of the last segment"
        );
        assert_eq!(
            error(Routes::new().get("/{a}", handler)),
            "GET /{a}: the path has a character that paths do not have; write it as %XX"
        );
        assert_eq!(error(Routes::new().get("/:a", handler).get("/:b", handler)), "GET /:b is there twice");
        let clash = error(Routes::new().get("/:a", handler).post("/:b", handler));
        assert!(clash.starts_with("the routes do not go together: "), "{clash}");
    }
}
