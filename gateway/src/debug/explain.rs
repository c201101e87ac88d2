//! Which route and chain a request would take, and why. What is decided is decided by the code that
//! requests go through; here it is put into words.

use std::sync::Arc;

use forward_crds::{MiddlewarePhase, MiddlewareSource};
use forward_plan::routes::{Method, Pattern, PluginId, Segment, Slot};
use http::{Method as Asked, Request, StatusCode, header, request};
use serde::Serialize;

use crate::data::{
    chain::Chain,
    clock::{Tick, present},
    cors, headers,
    problem::Problem,
    request as way,
    snapshot::{Endpoint, Match, Placed, Plugin, Route, Snapshot},
};

/// How many routes are named that are nearly the request's.
const NEAR: usize = 5;

/// What a request would come to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub request: String,
    /// The plugin that would be asked; `None`: the gateway answers.
    pub plugin: Option<String>,
    /// The route, as its plugin spells it.
    pub route: Option<String>,
    /// What the gateway would answer, where it is known that it does.
    pub status: Option<u16>,
    pub why: String,
    /// The routes whose host and path match, those first that are looked at first.
    pub candidates: Vec<Candidate>,
    /// Where nothing matches: what comes near.
    pub near: Vec<String>,
    /// What the request meets, in this order.
    pub middleware: Vec<Met>,
    /// The pods that it could go to.
    pub endpoints: Vec<Pod>,
    pub choice: Option<String>,
}

/// A route that matches by host and path.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    pub plugin: String,
    pub method: &'static str,
    /// Empty: every host.
    pub host: String,
    pub path: String,
    pub chosen: bool,
    pub why: String,
    /// The plugins that claim it too, and why they do not have it.
    pub losers: Vec<String>,
}

/// A middleware of a chain.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Met {
    pub phase: MiddlewarePhase,
    pub priority: i32,
    pub name: String,
    pub kind: String,
    /// Who declares it.
    pub source: MiddlewareSource,
    /// The plugin that provides it, where one does.
    pub provider: Option<String>,
    /// How much it lets through, where that is what it does.
    pub bound: Option<String>,
    /// It cannot be carried out: nothing goes past it, and the Plugin's status says why.
    pub refused: bool,
}

/// A ready pod.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    pub pod: String,
    pub address: String,
    /// Ready, Unhealthy, Ejected for its failures, or Avoided for a moment: no connection came about.
    pub state: &'static str,
    pub in_flight: usize,
}

/// A request that is asked about, or which of its parts cannot be.
pub fn request(
    method: &str,
    host: &str,
    path: &str,
    named: &[(String, String)],
) -> Result<request::Parts, String> {
    let wrong = |part: &str, value: &str| format!("{part} {value:?} cannot stand in a request");
    let method = method.parse::<Asked>().map_err(|_| wrong("method", method))?;
    let uri = path.parse::<http::Uri>().map_err(|_| wrong("path", path))?;
    if uri.authority().is_some() || !(path.starts_with('/') || path == "*") {
        return Err(format!("path {path:?} does not start with '/'"));
    }
    let mut builder = Request::builder().method(method).uri(uri).header(header::HOST, host);
    for (name, value) in named {
        if name.eq_ignore_ascii_case("host") {
            return Err("the host is given as host=, not as a header".to_owned());
        }
        builder = builder.header(name.as_str(), value.as_str());
    }
    let request = builder.body(()).map_err(|error| format!("this cannot be a request: {error}"))?;
    Ok(request.into_parts().0)
}

/// What a request would come to. `losers` tells who claims a slot too and does not have it.
pub fn explain(
    snapshot: &Snapshot,
    mut head: request::Parts,
    losers: impl Fn(&Slot) -> Vec<(PluginId, String)>,
) -> Explanation {
    headers::take_named(&mut head.headers);
    let asked = |host: &str| format!("{} {host}{}", head.method, head.uri.path());
    let host = match way::target(&mut head.clone()) {
        Ok(host) => host,
        Err(problem) => return Explanation::of(asked(""), problem.status(), problem.detail()),
    };
    let name = way::name_of(&host);
    let path = head.uri.path();
    let placed = snapshot.candidates(&name, path);
    let chosen = way::choose(snapshot, &head, &host);
    let winner = match &chosen {
        Match::Route(route) => placed.iter().find(|it| Arc::ptr_eq(it.route, route)).copied(),
        Match::Allow(_) | Match::NotFound => None,
    };
    // A browser's question may be about another method than its own.
    let about =
        cors::asked_method(&head).filter(|about| match (&chosen, snapshot.find(&name, about, path)) {
            (Match::Route(route), Match::Route(other)) => Arc::ptr_eq(route, &other),
            _ => false,
        });
    let method = about.as_ref().unwrap_or(&head.method);
    let candidate = |it: &Placed<'_>| Candidate {
        plugin: it.route.plugin.label.clone(),
        method: it.method.as_str(),
        host: it.host.to_owned(),
        path: it.route.pattern.clone(),
        chosen: winner.is_some_and(|winner| Arc::ptr_eq(winner.route, it.route)),
        why: verdict(it, winner.as_ref(), method),
        losers: told(it, &losers),
    };
    let candidates = placed.iter().map(candidate).collect();
    let explanation = match chosen {
        Match::Route(route) => of_route(asked(&name), &route, path, about.as_ref()),
        Match::Allow(allowed) => {
            let names = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
            let (status, _) = unrouted(&head, Some(allowed));
            let why = format!("the path has no route for {method}, but for {names}");
            Explanation::of(asked(&name), status, why)
        }
        Match::NotFound => {
            let (status, why) = unrouted(&head, None);
            Explanation { near: near(snapshot, &name, path), ..Explanation::of(asked(&name), status, why) }
        }
    };
    Explanation { candidates, ..explanation }
}

fn unrouted(head: &request::Parts, allowed: Option<Vec<Method>>) -> (StatusCode, String) {
    match way::unrouted(head, allowed) {
        Ok(answer) => (answer.status(), "the gateway answers what the path allows".to_owned()),
        Err(problem) => (problem.status(), problem.detail()),
    }
}

impl Explanation {
    /// The gateway answers by itself.
    fn of(request: String, status: StatusCode, why: String) -> Self {
        Self {
            request,
            plugin: None,
            route: None,
            status: Some(status.as_u16()),
            why,
            candidates: Vec::new(),
            near: Vec::new(),
            middleware: Vec::new(),
            endpoints: Vec::new(),
            choice: None,
        }
    }
}

fn of_route(request: String, route: &Route, path: &str, about: Option<&Asked>) -> Explanation {
    let Route { plugin, pattern, chain, .. } = route;
    let (middleware, endpoints) = (met(chain.as_deref()), pods(plugin));
    let plain = Problem::BadRequest("the path can be read as another one");
    let ambiguous = chain.as_ref().is_some_and(|chain| chain.refuses(path)).then_some(plain);
    let refused = || middleware.iter().find(|it| it.refused).map(|it| Problem::Middleware(it.name.clone()));
    let (status, why) = match (ambiguous.or_else(refused), plugin.reach()) {
        (Some(problem), _) => (Some(problem.status()), problem.detail()),
        (None, Err(failure)) => {
            let (error, label) = (failure.counted(), plugin.label.clone());
            let problem = Problem::Upstream { plugin: label, error, seconds: 1 };
            match route.policies().answer() {
                Some(respond) => (Some(respond.status), format!("{}; a fallback answers", problem.detail())),
                None => match route.policies().substitute(plugin) {
                    Some(other) => (None, format!("{}; {} stands in", problem.detail(), other.label)),
                    None => (Some(problem.status()), problem.detail()),
                },
            }
        }
        (None, Ok(())) => (None, "the plugin is asked, unless a middleware answers first".to_owned()),
    };
    let why = match about {
        Some(method) => format!("a browser asks about {method}; {why}"),
        None => why,
    };
    let candidates = endpoints.iter().filter(|pod| pod.state == "Ready").count();
    let choice = match (endpoints.len(), candidates) {
        (0, _) => None,
        (1, _) => Some("the only pod".to_owned()),
        (_, 0) => Some("any: better one that may fail than none".to_owned()),
        (_, 1) => Some("the only one that is Ready, and at times one to be tried again".to_owned()),
        (_, count) => Some(format!("of two at random among {count}, the one with less under way")),
    };
    Explanation {
        request,
        plugin: Some(plugin.label.clone()),
        route: Some(pattern.clone()),
        status: status.map(|status| status.as_u16()),
        why,
        candidates: Vec::new(),
        near: Vec::new(),
        middleware,
        endpoints,
        choice,
    }
}

/// The middleware of a route, in order.
pub fn met(chain: Option<&Chain>) -> Vec<Met> {
    let entries = chain.map_or(&[][..], |chain| &chain.entries);
    let met = entries.iter().map(|entry| Met {
        phase: entry.phase,
        priority: entry.priority,
        name: entry.name.clone(),
        kind: entry.kind.clone(),
        source: entry.source,
        provider: entry.provider.clone(),
        bound: entry.step.as_ref().ok().and_then(|step| step.bound()),
        refused: entry.step.is_err(),
    });
    met.collect()
}

/// The ready pods of a plugin.
pub fn pods(plugin: &Plugin) -> Vec<Pod> {
    let now = present();
    plugin.endpoints().iter().map(|endpoint| Pod::of(endpoint, now)).collect()
}

impl Pod {
    fn of(endpoint: &Endpoint, now: Tick) -> Self {
        Self {
            pod: endpoint.pod.clone(),
            address: endpoint.address.to_string(),
            state: match () {
                () if endpoint.is_unhealthy() => "Unhealthy",
                () if !endpoint.circuit.is_closed() => "Ejected",
                () if endpoint.is_shunned(now) => "Avoided",
                () => "Ready",
            },
            in_flight: endpoint.in_flight.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}

/// Why a route that matches by host and path is chosen, or is not.
fn verdict(it: &Placed<'_>, winner: Option<&Placed<'_>>, asked: &Asked) -> String {
    if winner.is_some_and(|winner| Arc::ptr_eq(winner.route, it.route)) {
        return match it.method {
            Method::Any => "it is for every method that the path has no other route for".to_owned(),
            Method::Get if asked == Asked::HEAD => "routes for GET answer HEAD".to_owned(),
            _ => "host, path and method match".to_owned(),
        };
    }
    let fits = match it.method {
        Method::Any => true,
        Method::Get => asked == Asked::GET || asked == Asked::HEAD,
        method => method.as_str() == asked.as_str(),
    };
    let Some(winner) = winner.filter(|_| fits) else { return format!("it is not for {asked}") };
    if winner.host != it.host {
        return format!("routes of the host {} go before those of every host", winner.host);
    }
    let (ours, theirs) = (segments(it.route), segments(winner.route));
    if ours == theirs {
        return format!("the route for {} goes before it", winner.method);
    }
    let differs = ours.iter().zip(&theirs).enumerate().find(|(_, (one, other))| one != other);
    match differs {
        Some((at, (one, other))) => {
            format!("segment {} is {}, and {} goes before it", at + 1, in_words(one), in_words(other))
        }
        None => "a more specific path goes before it".to_owned(),
    }
}

fn in_words(segment: &Segment) -> &'static str {
    match segment {
        Segment::Literal(_) => "a literal",
        Segment::Param => "a :parameter",
        Segment::Rest => "the *rest",
    }
}

fn segments(route: &Route) -> Vec<Segment> {
    route.pattern.parse::<Pattern>().map(|pattern| pattern.segments().to_vec()).unwrap_or_default()
}

fn told(it: &Placed<'_>, losers: impl Fn(&Slot) -> Vec<(PluginId, String)>) -> Vec<String> {
    let slot = Slot { host: it.host.to_owned(), path: segments(it.route), method: it.method };
    losers(&slot).into_iter().map(|(id, winner)| format!("{id}: it is served by {winner}")).collect()
}

/// What comes near to a path that nobody has.
fn near(snapshot: &Snapshot, host: &str, path: &str) -> Vec<String> {
    let label = |it: &Placed<'_>| {
        format!("{} {}{} of {}", it.method, it.host, it.route.pattern, it.route.plugin.label)
    };
    let all = snapshot.routes();
    let mut near = Vec::new();
    let other = match path.strip_suffix('/') {
        Some(without) if !without.is_empty() => without.to_owned(),
        _ => format!("{path}/"),
    };
    let slash = snapshot.candidates(host, &other);
    near.extend(slash.iter().map(|it| format!("{} matches {other}", label(it))));
    let elsewhere = all.iter().filter(|it| !it.host.is_empty() && it.host != host);
    let matching = elsewhere.filter(|it| shared(&segments(it.route), path).is_none());
    near.extend(matching.map(|it| format!("{} is for another host", label(it))));
    let here = all.iter().filter(|it| it.host.is_empty() || it.host == host);
    let mut begun = here
        .filter_map(|it| shared(&segments(it.route), path).map(|(count, why)| (count, why, it)))
        .filter(|(count, ..)| *count > 0)
        .collect::<Vec<_>>();
    begun.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    near.extend(begun.into_iter().map(|(_, why, it)| format!("{}: {why}", label(it))));
    near.truncate(NEAR);
    near
}

/// How many segments of a pattern a path has, and what it lacks; `None` where it matches.
fn shared(pattern: &[Segment], path: &str) -> Option<(usize, String)> {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    for (at, segment) in pattern.iter().enumerate() {
        let part = parts.next();
        match (segment, part) {
            (Segment::Rest, Some(part)) if !part.is_empty() || parts.next().is_some() => return None,
            (Segment::Param, Some(part)) if !part.is_empty() => {}
            (Segment::Literal(text), Some(part)) if text == part => {}
            (Segment::Literal(text), Some(part)) => {
                return Some((at, format!("segment {} of the path is {part:?}, not {text:?}", at + 1)));
            }
            (_, Some(_)) => return Some((at, format!("segment {} of the path is empty", at + 1))),
            (_, None) => return Some((at, format!("the path ends before segment {}", at + 1))),
        }
    }
    parts.next().map(|_| (pattern.len(), "the path goes on after it".to_owned()))
}
